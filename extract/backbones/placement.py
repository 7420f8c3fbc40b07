"""Where a backbone computes, and in which number format."""

import socket
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Self

import torch

PRECISIONS: Final = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Number formats of a forward pass."""
DEVICES: Final = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Placement:
    """A device that is there, and a precision."""

    device: torch.device
    precision: str
    """One of ``PRECISIONS``."""

    @classmethod
    def of(cls, device: str, precision: str) -> Self:
        """Check a user's choice.

        Args:
            device: ``cpu`` or ``cuda``, as ``choose`` gives it.
            precision: one of ``PRECISIONS``.

        Raises:
            ValueError: there is no such device here, or no such precision.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"no precision {precision!r}; there are: {', '.join(PRECISIONS)}")
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"the features are to be computed on a GPU (cuda), but torch sees none on {socket.gethostname()}; "
                "say --device cpu, or run workers where there is one"
            )
        if device not in DEVICES[1:]:
            raise ValueError(f"no device {device!r}; there are: {', '.join(DEVICES)}")
        return cls(torch.device(device), precision)

    def autocast(self) -> AbstractContextManager[object]:
        """A context in which matrix products and convolutions run in the precision."""
        if self.precision != "float32":
            return torch.autocast(self.device.type, dtype=PRECISIONS[self.precision])
        if self.device.type == "cuda":  # where torch rounds what convolutions multiply to ten bits, unless told not to
            return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        return nullcontext()


CPU: Final = Placement(torch.device("cpu"), "float32")


def choose(device: str, precision: str) -> tuple[str, str]:
    """Resolve ``auto``: a GPU if there is one, with half precision there and float32 on the CPU.

    bfloat16 on a CPU without instructions for it is several times slower than float32.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = "float16" if device == "cuda" else "float32"
    return device, precision
