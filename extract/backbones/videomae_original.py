"""VideoMAE's own checkpoints (``.pth``), whose tensors have other names and another cut than transformers' have.

Pre-training wrote ``{"model": …}`` with ``encoder.…`` beside a decoder, fine-tuning ``{"module": …}`` (DeepSpeed) or
``{"model": …}`` with ``fc_norm`` and a ``head``. One matrix holds query, key and value; keys have no bias; the table of
positions is a fixed sinusoid and not in the file.

Source: https://github.com/MCG-NJU/VideoMAE (``modeling_pretrain.py``, ``modeling_finetune.py``); VideoMAE V2 writes the
same layout.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from scale_video.extract.backbones.checkpoint_file import load_strictly, read_checkpoint, state_dict_of

MODEL_ZOO: Final = "https://github.com/MCG-NJU/VideoMAE/blob/main/MODEL_ZOO.md"
LICENCE: Final = "CC-BY-NC-4.0"
"""Of that repository and what it publishes; files of VideoMAE V2, whose licence is freer, cannot be told apart."""

_HOLDERS: Final = ("model", "module")
_PATCHES: Final = "patch_embed.proj.weight"
_UNUSED: Final = ("decoder.", "encoder_to_decoder.", "mask_token", "head.")
"""Beginnings of what pre-training and classification have beyond the encoder."""
_NORM_EPSILON: Final = 1e-6
"""Of all norms there; transformers' configurations say 1e-12, and its ``fc_norm`` has 1e-5."""
_IMAGE_SIZE: Final = 224
_NUM_FRAMES: Final = 16
_HEAD_DIM: Final = 64
_HEADS_BY_WIDTH: Final = {1280: 16, 1408: 16}
"""Of ViT-H and ViT-g; no tensor's shape tells the number of heads, and all other sizes have heads of 64."""

_IN_BLOCK: Final = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_OUTSIDE: Final = {"patch_embed.proj": "videomae.embeddings.patch_embeddings.projection", "norm": "videomae.layernorm"}


def read_original(path: Path) -> tuple[Any, nn.Module | None]:
    """Read a checkpoint of pre-training or fine-tuning.

    Width, depth, patches and tubelets follow from the tensors' shapes, the number of heads from the width (64 numbers a
    head, 16 heads in ViT-H). Frames and their size are those of the options that a file keeps of its training
    (``args``), else 16 at 224 pixels, as in all published ones.

    Args:
        path: what ``torch.save`` wrote, or the same names in safetensors.

    Returns:
        transformers' ``VideoMAEModel`` and the ``fc_norm`` of a fine-tuned model, in float32 and evaluation mode.

    Raises:
        ValueError: the file cannot be read, or a tensor is missing, of another shape, or unknown.
    """
    import transformers

    checkpoint = read_checkpoint(path)
    tensors = state_dict_of(checkpoint, holders=_HOLDERS, source=path.name)
    encoder = {key.removeprefix("encoder."): tensor for key, tensor in tensors.items() if not key.startswith(_UNUSED)}
    mean_pooling = "fc_norm.weight" in encoder
    config = _config(encoder, checkpoint.get("args"), source=path.name)
    network = nn.ModuleDict({"videomae": transformers.VideoMAEModel(config)})
    if mean_pooling:
        network["fc_norm"] = nn.LayerNorm(config.hidden_size, eps=_NORM_EPSILON)
    load_strictly(
        network,
        _in_the_names_of(network, _rename(encoder, source=path.name)),
        source=path.name,
        unused=sorted(key for key in tensors if key.startswith(_UNUSED)),
    )
    network.float().eval().requires_grad_(False)
    return network["videomae"], network["fc_norm"] if mean_pooling else None


def _config(encoder: Mapping[str, Tensor], options: object, *, source: str) -> Any:
    """The ``VideoMAEConfig`` of an encoder that was trained with some options, if they are known."""
    import transformers

    patches = encoder.get(_PATCHES)
    if patches is None or patches.ndim != 5 or patches.shape[1] != 3 or patches.shape[3] != patches.shape[4]:
        found = f"has the shape {tuple(patches.shape)}" if patches is not None else "is not in it"
        raise ValueError(
            f"{source!r} is no checkpoint of VideoMAE ({_PATCHES} {found}); get one from {MODEL_ZOO}, or give the "
            "folder that transformers saved a model to"
        )
    width, _, tubelet_size, patch_size, _ = patches.shape
    num_heads = _HEADS_BY_WIDTH.get(width, max(1, width // _HEAD_DIM))
    if width % num_heads:
        raise ValueError(f"{source!r} has tokens of {width} numbers, which are no {num_heads} heads of {_HEAD_DIM}")
    blocks = {key.split(".")[1] for key in encoder if key.startswith("blocks.")}
    mlp = encoder.get("blocks.0.mlp.fc1.bias")
    return transformers.VideoMAEConfig(
        image_size=_option(options, "input_size", _IMAGE_SIZE),
        num_frames=_option(options, "num_frames", _NUM_FRAMES) * _option(options, "num_segments", 1),
        patch_size=patch_size,
        tubelet_size=tubelet_size,
        hidden_size=width,
        num_hidden_layers=max(1, len(blocks)),
        num_attention_heads=num_heads,
        intermediate_size=4 * width if mlp is None else mlp.numel(),
        layer_norm_eps=_NORM_EPSILON,
        use_mean_pooling="fc_norm.weight" in encoder,
    )


def _option(options: object, name: str, default: int) -> int:
    """A number among the options that a file keeps of its training, if it keeps any."""
    value = getattr(options, name, default) if isinstance(options, argparse.Namespace) else default
    return value if isinstance(value, int) else default


def _rename(encoder: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Tensors under transformers' names, with queries, keys and values apart.

    Raises:
        ValueError: a tensor that no published VideoMAE has; the encoder would compute something else with it.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in encoder.items():
        module, _, kind = key.rpartition(".")
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)", module)
        layer = f"videomae.encoder.layer.{block[1]}" if block else ""
        attention = f"{layer}.attention.attention"
        if block and (block[2], kind) == ("attn.qkv", "weight"):
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=False)
            renamed |= {f"{attention}.{part}.weight": third for part, third in parts}
        elif block and (block[2], kind) in (("attn", "q_bias"), ("attn", "v_bias")):
            renamed[f"{attention}.{'query' if kind == 'q_bias' else 'value'}.bias"] = tensor
        elif block and block[2] in _IN_BLOCK:
            renamed[f"{layer}.{_IN_BLOCK[block[2]]}.{kind}"] = tensor
        elif module in _OUTSIDE:
            renamed[f"{_OUTSIDE[module]}.{kind}"] = tensor
        elif module == "fc_norm":
            renamed[key] = tensor
        else:
            raise ValueError(
                f"{source!r} holds {key}, which is in none of the published VideoMAEs; choose one from {MODEL_ZOO}"
            )
    return renamed


def _in_the_names_of(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the biases as the installed transformers does: ``query.bias`` (5) or ``q_bias`` (4)."""
    older = {
        key.replace(".q_bias", ".query.bias").replace(".v_bias", ".value.bias"): key for key in network.state_dict()
    }
    return {older.get(key, key): tensor for key, tensor in tensors.items()}
