"""Weights in the files that papers publish: where they are, how they are read, and that they fit to the last key."""

import argparse
import logging
import os
import pickle
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

logger = logging.getLogger(__name__)

WEIGHTS_VARIABLE: Final = "SCALE_VIDEO_WEIGHTS"
"""Environment variable that names the folder of weights."""
SUFFIXES: Final = (".pth", ".pyth", ".pt", ".bin", ".safetensors")
"""Of files that hold weights."""


def weights_folder() -> Path:
    """Where weights are looked for by name: ``$SCALE_VIDEO_WEIGHTS``, else a folder of the user's cache."""
    named = os.environ.get(WEIGHTS_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "scale-video" / "weights"


def find_weights(source: str | None, *, file_name: str, download: str) -> Path:
    """The file of some weights.

    Args:
        source: a path, or a file's name in ``weights_folder``; None: ``file_name`` there.
        file_name: as it is published.
        download: where it is published.

    Raises:
        ValueError: there is no such file; the message says what to get and where to put it.
    """
    for path in (Path(source).expanduser(), weights_folder() / source) if source else (weights_folder() / file_name,):
        if path.is_file():
            return path.resolve()
    what = f"no file {source!r}" if source else f"the weights {file_name!r} are not on this machine"
    raise ValueError(
        f"{what}; get {file_name} from {download} and put it into {weights_folder()}, or give its path: FAMILY:PATH"
    )


def read_checkpoint(path: Path) -> Any:
    """What a file holds; nothing in it is run.

    Raises:
        ValueError: it is damaged, or holds more than tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors, pickle and zip each have their own
        if isinstance(error, pickle.UnpicklingError):
            reason = _why_refused(path)
        else:
            reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise ValueError(f"cannot read the weights {str(path)!r} ({reason}); get them again") from error


def _harmless() -> list[Any]:
    """What published checkpoints keep beside the weights: a training's options, and NumPy's numbers of its schedule."""
    make_number = np.float64(0).__reduce__()[0]
    paths = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")  # NumPy 1 and 2
    dtypes = {type(np.dtype(name)) for name in ("float64", "float32", "int64")}
    return [argparse.Namespace, np.dtype, *dtypes, *((make_number, path) for path in paths)]


def _why_refused(path: Path) -> str:
    """What the unpickler could not say without telling how to run the file."""
    if not zipfile.is_zipfile(path):
        return "torch.save did not write it, or it is damaged, or names code, which is never run"
    with torch.serialization.safe_globals(_harmless()):
        named = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    return f"it names code, which is never run: {', '.join(named[:3])}" if named else "it is damaged"


def state_dict_of(checkpoint: Any, *, holders: Iterable[str], source: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by their names there.

    Args:
        checkpoint: what ``read_checkpoint`` gave.
        holders: keys that may hold the weights, the first that is there counts; else the checkpoint itself is taken.
        source: for the message.

    Raises:
        ValueError: there are no tensors in it.
    """
    held = checkpoint
    if isinstance(checkpoint, Mapping):
        held = next((checkpoint[key] for key in holders if isinstance(checkpoint.get(key), Mapping)), checkpoint)
    tensors = {} if not isinstance(held, Mapping) else {k: v for k, v in held.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ValueError(f"{source!r} holds no weights (looked for {', '.join(holders)}); choose another file")
    return tensors


def take_prefix(tensors: Mapping[str, Tensor], *, prefix: str, source: str) -> tuple[dict[str, Tensor], list[str]]:
    """Part the tensors whose names begin with a prefix from all others.

    Returns:
        The former, by the rest of their names, and the names of the latter.

    Raises:
        ValueError: no name begins with it.
    """
    taken = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if not taken:
        raise ValueError(
            f"the weights {source!r} hold no tensors {prefix}*, the first there is {min(tensors)}; "
            "choose the file that belongs to this backbone"
        )
    return taken, [name for name in tensors if not name.startswith(prefix)]


def load_strictly(
    network: nn.Module, tensors: Mapping[str, Tensor], *, source: str, prefix: str = "", unused: Iterable[str] = ()
) -> None:
    """Load a network's tensors, every one of them; what is left over is named in the log.

    Args:
        network: whose ``state_dict`` says what is needed; one on the ``meta`` device was never initialised, which
            takes seconds.
        tensors: under the network's names.
        source: the file's name, for messages.
        prefix: what the file has before these names, for messages.
        unused: the file's own names of what was left out before.

    Raises:
        ValueError: a tensor is missing or of another shape; the message says which.
    """
    needed = network.state_dict()
    if missing := sorted(needed.keys() - tensors.keys()):
        raise ValueError(
            f"the weights {source!r} lack {len(missing)} of {len(needed)} tensors, the first: {prefix}{missing[0]}; "
            "choose the file that belongs to this backbone"
        )
    for name, tensor in needed.items():
        if tensors[name].shape != tensor.shape:
            raise ValueError(
                f"{prefix}{name} of the weights {source!r} has the shape {tuple(tensors[name].shape)}, expected "
                f"{tuple(tensor.shape)}; choose the file that belongs to this backbone"
            )
    # Copies, since the last bit of a product depends on how its operands lie in memory, and files differ in that.
    copies = {name: tensors[name].to(needed[name].dtype, copy=True) for name in needed}
    network.load_state_dict(copies, assign=any(tensor.is_meta for tensor in needed.values()))
    left_over = [*unused, *(f"{prefix}{name}" for name in sorted(tensors.keys() - needed.keys()))]
    if left_over:
        groups = Counter(_group(name) for name in left_over)
        named = ", ".join(f"{group} ({number})" if number > 1 else group for group, number in groups.items())
        logger.info("of %s, %d tensors are not used, and not needed: %s", source, len(left_over), named)


def _group(name: str) -> str:
    """A tensor's name for a short list: its last part where many modules have one like it, else its first two."""
    parts = name.split(".")
    if parts[-1] == "num_batches_tracked":
        return f"*.{parts[-1]}"
    return name if len(parts) <= 2 else ".".join([*parts[:2], "*"])
