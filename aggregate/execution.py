"""How a step of pre-training is computed: in which precision, and whether it is compiled.

``auto`` is decided once, before training, by the device. What it became stands in the checkpoint, so that training does
not go on in other arithmetic than it began with.
"""

import contextlib
import logging
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["auto", "fp32", "bf16"]
"""``bf16`` multiplies matrices in bfloat16; weights, norms, similarities and losses stay float32. ``auto`` does so on a
GPU that can."""

Compilation = Literal["auto", "on", "off"]
"""Whether ``torch.compile`` makes one program of a step. ``auto``: on a GPU, where a compiler works."""

_logger = logging.getLogger(__name__)


def decided_precision(choice: Precision, *, device_type: str) -> Precision:
    """``fp32`` or ``bf16``."""
    if choice != "auto":
        return choice
    on_gpu = device_type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if on_gpu else "fp32"


def decided_compilation(choice: Compilation, *, device_type: str) -> Compilation:
    """``on`` or ``off``."""
    if choice != "auto":
        return choice
    return "on" if device_type == "cuda" and _compiler_works(device_type) else "off"


def matrix_products(precision: Precision, *, device_type: str) -> contextlib.AbstractContextManager[object]:
    """The context in which layers multiply matrices in a decided precision."""
    return torch.autocast(device_type, dtype=torch.bfloat16, enabled=precision == "bf16")


def in_chunks(values: Tensor) -> bool:
    """Whether to compute in chunks that stay in a cache: on a CPU, in full precision, if no compiler decides on it."""
    on_cpu = values.device.type == "cpu"
    return on_cpu and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


def _compiler_works(device_type: str) -> bool:
    """Whether a small function can be compiled; only trying tells."""
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device_type))
    except Exception as error:  # compilers run other programs; there is no list of what goes wrong with these
        reason = str(error).strip().partition("\n")[0]
        _logger.warning("pre-training is not compiled: torch.compile does not work here (%s)", reason)
        return False
    return True
