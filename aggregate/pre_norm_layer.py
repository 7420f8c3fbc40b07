"""One layer of the set transformer: PyTorch's encoder layer, trained at less cost.

Two things differ from ``nn.TransformerEncoderLayer``, none of them the numbers. It splits queries, keys and values in
one go; PyTorch selects them one by one, and each selection's gradient is as large as all three and mostly zeros. And of
the last layer only the outputs that are read need to be computed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PreNormLayer(nn.TransformerEncoderLayer):
    """Attention, then an MLP with GELU, each behind a LayerNorm and beside a residual connection.

    Args:
        width: Length of a token, E.
        num_heads: Attention heads.
        hidden_dim: Hidden units of the MLP.
        dropout: Probability, of attention weights, hidden units and both outputs.
    """

    def __init__(self, width: int, *, num_heads: int, hidden_dim: int, dropout: float) -> None:
        super().__init__(width, num_heads, hidden_dim, dropout, activation="gelu", batch_first=True, norm_first=True)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Refine N sets of T tokens, shape (N, T, E); arguments as PyTorch has them."""
        if not self.training or src_mask is not None or src_key_padding_mask is not None or is_causal:
            return super().forward(src, src_mask, src_key_padding_mask, is_causal)
        num_sets, num_tokens, _ = src.shape
        attended = self.self_attn.out_proj(self._attend(src)).view(num_tokens, num_sets, -1).transpose(0, 1)
        src = src + self.dropout1(attended)
        return src + self._ff_block(self.norm2(src))

    def read(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Refine some tokens only. Dropout is drawn for all of them, so that these are what ``forward`` gives.

        Args:
            tokens: All tokens, shape (N, T, E).
            rows: Which of the N * T outputs to compute, shape (R,), int64.

        Returns:
            Shape (R, E).
        """
        num_sets, num_tokens, _ = tokens.shape
        num_rows = num_sets * num_tokens
        turned = rows % num_tokens * num_sets + rows // num_tokens  # rows of what ``_attend`` returns
        attended = self.self_attn.out_proj(self._attend(tokens).index_select(0, turned))
        tokens = tokens.flatten(0, 1).index_select(0, rows) + self._drop(attended, turned, num_rows)
        hidden = F.gelu(self.linear1(self.norm2(tokens)))
        return tokens + self._drop(self.linear2(self._drop(hidden, rows, num_rows)), rows, num_rows)

    def _attend(self, tokens: Tensor) -> Tensor:
        """Attention of every set, before its output projection, shape (T * N, E): PyTorch drops from this order."""
        attention = self.self_attn
        projected = F.linear(self.norm1(tokens), attention.in_proj_weight, attention.in_proj_bias)  # (N, T, 3 * E)
        by_head = projected.view(*tokens.shape[:2], 3, attention.num_heads, -1)  # (N, T, 3, heads, channels)
        queries, keys, values = by_head.permute(2, 0, 3, 1, 4).unbind()  # (N, heads, T, channels)
        dropout = attention.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
        return attended.permute(2, 0, 1, 3).reshape(-1, tokens.shape[2])

    def _drop(self, values: Tensor, rows: Tensor, num_rows: int) -> Tensor:
        """Dropout of these of so many rows."""
        if not self.training or self.dropout.p == 0:
            return values
        kept = torch.empty(num_rows, values.shape[1], dtype=values.dtype, device=values.device)
        kept = kept.bernoulli_(1 - self.dropout.p).index_select(0, rows)
        return values * kept.div_(1 - self.dropout.p)
