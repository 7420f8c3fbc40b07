"""Where features live while they are trained on: on the device, in memory, or in the store, from which they stream."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import psutil
import torch

from scale_video.store.amounts import memory_text

Residency = Literal["auto", "device", "memory", "stream"]
"""``auto``: the first that the features fit into."""

_OF_DEVICE: Final = 0.5
"""Part of a GPU's free memory that features may take; the rest is for the step, and whoever comes later."""
_OF_MEMORY: Final = 0.6
"""Part of what is available that features may take if nothing else is said."""
_OWN_CGROUPS: Final = Path("/proc/self/cgroup")
_CGROUPS: Final = (
    # where, limit, usage, and what of the usage is cache that the kernel gives back
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


@dataclass(frozen=True, slots=True)
class Residence:
    """Where features live."""

    kind: Literal["device", "memory", "stream"]
    memory_bytes: int = 0
    """What those of one process may take of main memory."""
    reason: str = ""
    """Sizes that decided, for people."""


def decided_residence(
    wanted: Residency, *, num_bytes: int, device: torch.device, ranks_here: int, limit_bytes: int | None = None
) -> Residence:
    """Decide by sizes, unless it is decided already.

    Args:
        wanted: What was asked for.
        num_bytes: Of all features.
        device: Where training happens. A CPU has no memory of its own, so ``device`` means ``memory`` there.
        ranks_here: Processes on this machine, each with features of its own.
        limit_bytes: What features may take of this machine's memory, all processes together; None: a part of what is
            available.
    """
    available = available_memory()
    limit = int(available * _OF_MEMORY) if limit_bytes is None else limit_bytes
    each = limit // ranks_here
    given = "" if limit_bytes is None else " limit"
    of_memory = f"{memory_text(num_bytes)}{f' x {ranks_here}' if ranks_here > 1 else ''} of {memory_text(limit)}{given}"
    if device.type == "cuda" and wanted in ("auto", "device"):
        free = torch.cuda.mem_get_info(device)[0]
        if wanted == "device" or num_bytes < free * _OF_DEVICE:
            return Residence("device", each, f"{memory_text(num_bytes)} of {memory_text(free)} free on {device}")
    if wanted in ("memory", "device") or (wanted == "auto" and num_bytes <= each):
        return Residence("memory", each, of_memory)
    return Residence("stream", each, of_memory)


def available_memory() -> int:
    """Bytes that this process may still take without swapping: of the machine, and of the groups it is held in."""
    free = [int(psutil.virtual_memory().available)]
    for folder in _own_cgroups():
        for _, limit, usage, cache in _CGROUPS:
            free += _free_in(folder, limit=limit, usage=usage, cache=cache)
    return max(0, min(free))


def _own_cgroups() -> list[Path]:
    """Folders of the control groups that limit this process's memory, of either version, with their parents."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return []  # not Linux
    names = [line.split(":", 2)[2] for line in lines if line.split(":")[1] in ("", "memory")]
    folders = []
    for root in (Path(where) for where, *_ in _CGROUPS):
        for name in names:
            inner = root / name.lstrip("/")
            folders += [inner, *(parent for parent in inner.parents if parent.is_relative_to(root))]
    return list(dict.fromkeys(folder for folder in folders if folder.is_dir()))


def _free_in(folder: Path, *, limit: str, usage: str, cache: str) -> list[int]:
    """What a control group leaves; nothing where it sets no limit."""
    try:
        bound = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        said = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return []
    return [int(bound) - used + int(said.get(cache, 0))] if bound.isdigit() else []
