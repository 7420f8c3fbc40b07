"""A backbone as a user asks for it."""

from dataclasses import dataclass
from typing import Final

NORMALISATIONS: Final = ("own", "paper")


@dataclass(frozen=True, slots=True)
class BackboneRequest:
    """A backbone as asked for; no weights have been looked at."""

    family: str
    """Name of a family, see ``families.py``."""
    source: str | None
    """Where its weights are: a hub name, or a local file or folder (absolute); None: where the family expects them."""
    name: str
    """Name of its group in the store."""
    device: str = "cpu"
    """Where it runs on a worker: ``cpu`` or ``cuda``."""
    precision: str = "float32"
    """Number format of the forward pass: ``float32``, ``float16`` or ``bfloat16`` (by autocast)."""
    normalisation: str = "own"
    """``own``: the statistics of colour that the weights were trained with; ``paper``: those that SCALE's published
    code gives to every backbone, and VideoMAE's positions interpolated as there."""
