"""The set transformer: turns the clip features of a video into refined clip tokens and one global token.

Source: SCALE (ICCV 2023), published code. A clip's position is a coordinate vector, not an index, so that sets of any
size and order can be read; positions are added *after* masking: the model knows where a masked clip lies, not what it
shows.
"""

from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from scale_video.aggregate.normalise_coordinates import Positions
from scale_video.aggregate.pre_norm_layer import PreNormLayer
from scale_video.store.clip_plan import Coordinate


@dataclass(frozen=True, slots=True)
class SetTransformerConfig:
    """Sizes of a set transformer, and what positions it reads; the defaults are the paper's."""

    width: int = 256
    """Length of a token, E."""
    num_layers: int = 2
    num_heads: int = 8
    """Attention heads; the paper's have 32 channels each."""
    mlp_ratio: float = 2.0
    """Hidden units of a layer's MLP over ``width``."""
    dropout: float = 0.1
    position_hidden_dim: int = 512
    """Hidden units of the MLP that embeds coordinates."""
    positions: Positions = "relative"
    """``relative`` to the clips of the video, or ``absolute``: fractions of the frame, and tens of seconds."""

    def __post_init__(self) -> None:
        """Check sizes.

        Raises:
            ValueError: a size is not positive, heads don't divide the width, dropout is not in [0, 1), or positions are
                of no known kind.
        """
        for name in ("width", "num_layers", "num_heads", "mlp_ratio", "position_hidden_dim"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.width % self.num_heads:
            raise ValueError(f"num_heads ({self.num_heads}) must divide width ({self.width})")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.positions not in get_args(Positions):
            raise ValueError(f"positions must be one of {', '.join(get_args(Positions))}, got {self.positions!r}")


class SetTokens(NamedTuple):
    """What the transformer makes of N sets of K clips."""

    cls: Tensor
    """Global tokens, shape (N, E)."""
    clips: Tensor
    """Refined clips, shape (N, K, E); meaningless where a clip is not valid."""


class SetTransformer(nn.Module):
    """Two pre-norm transformer layers over clip tokens and a CLS token.

    Args:
        config: Sizes, and what positions it reads.
        feature_dim: Length of a backbone feature, D.
    """

    def __init__(self, config: SetTransformerConfig, *, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.positions = config.positions
        """How the coordinates are normalised that it is given."""
        self.project = nn.Linear(feature_dim, config.width)
        self.embed_position = nn.Sequential(
            nn.Linear(len(Coordinate), config.position_hidden_dim),
            nn.ReLU(),
            nn.Linear(config.position_hidden_dim, config.width),
        )
        self.cls_token = nn.Parameter(torch.zeros(config.width))
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        # not nn.TransformerEncoder, which copies one layer and so starts all of them with the same weights
        self.layers = nn.ModuleList(_pre_norm_layer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(
        self,
        features: Tensor,
        coordinates: Tensor,
        *,
        valid: Tensor | None = None,
        masked_clips: Tensor | None = None,
        only_masked: bool = False,
    ) -> SetTokens:
        """Refine N sets of K clips.

        Args:
            features: Backbone features, shape (N, K, D).
            coordinates: Normalised coordinates, shape (N, K, C).
            valid: Shape (N, K), bool; the other clips are not attended to. None: all are valid.
            masked_clips: Indices into the N * K clips, shape (M,), of those that the mask token replaces.
            only_masked: Refine the masked clips only, which is cheaper; the others are zeros.

        Returns:
            The global token of each set and its refined clips.

        Raises:
            ValueError: ``only_masked`` without ``masked_clips``, or with ``valid``.
        """
        if only_masked and (masked_clips is None or valid is not None):
            raise ValueError(
                "only_masked needs masked_clips, and sets without padding; leave it out to refine all clips"
            )
        tokens = self.project(features)  # (N, K, E)
        if masked_clips is not None:
            # in the precision of the others: CUDA's autocast leaves index_copy alone, which takes one precision only
            mask_tokens = self.mask_token.to(tokens.dtype).expand(len(masked_clips), -1)
            tokens = tokens.flatten(0, 1).index_copy(0, masked_clips, mask_tokens).view_as(tokens)
        tokens = tokens + self.embed_position(coordinates)
        cls_tokens = self.cls_token.expand(len(tokens), 1, -1)
        tokens = torch.cat((cls_tokens, tokens), dim=1)  # (N, 1 + K, E)
        padding = None if valid is None else nn.functional.pad(~valid, (1, 0))  # (N, 1 + K); CLS is never padding
        for layer in self.layers[:-1]:
            tokens = layer(tokens, src_key_padding_mask=padding)
        if only_masked:
            assert masked_clips is not None
            return self._read_masked(tokens, masked_clips)
        tokens = self.norm(self.layers[-1](tokens, src_key_padding_mask=padding))
        return SetTokens(cls=tokens[:, 0], clips=tokens[:, 1:])

    def _read_masked(self, tokens: Tensor, masked_clips: Tensor) -> SetTokens:
        """What the last layer makes of CLS tokens and masked clips; tokens are (N, 1 + K, E)."""
        last = self.layers[-1]
        assert isinstance(last, PreNormLayer)
        num_sets, num_tokens, _ = tokens.shape
        of_cls = torch.arange(num_sets, device=tokens.device) * num_tokens
        of_clips = masked_clips + masked_clips // (num_tokens - 1) + 1  # the CLS tokens of its set and those before
        outputs = self.norm(last.read(tokens, torch.cat((of_cls, of_clips))))
        cls, masked = outputs.split((num_sets, len(masked_clips)))
        clips = outputs.new_zeros(num_sets * (num_tokens - 1), outputs.shape[1]).index_copy(0, masked_clips, masked)
        return SetTokens(cls=cls, clips=clips.unflatten(0, (num_sets, -1)))


def _pre_norm_layer(config: SetTransformerConfig) -> nn.Module:
    return PreNormLayer(
        config.width,
        num_heads=config.num_heads,
        hidden_dim=round(config.width * config.mlp_ratio),
        dropout=config.dropout,
    )
