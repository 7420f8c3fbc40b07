"""An exported aggregator: one safetensors file with the weights, and a description of them in its header.

The description is JSON under one key of the header's metadata, so that equal exports are equal files. Reading one from
elsewhere runs no code, and takes no more memory than the file is long: the header's length is looked at before it is
read, and the tensors are checked against the file's size by the safetensors library.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

SUFFIX: Final = ".safetensors"
DESCRIPTION: Final = "scale_video"
"""Key of the description in the header's metadata."""
MAX_HEADER_BYTES: Final = 1 << 22
"""Ours take a few thousand."""
_LENGTH_BYTES: Final = 8


def write_aggregator_file(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write an export whole or not at all.

    Args:
        path: Of the file; replaced if it is there.
        tensors: By name.
        description: JSON values.

    Raises:
        OSError: it cannot be written.
    """
    metadata = {DESCRIPTION: json.dumps(description, sort_keys=True, ensure_ascii=False)}
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_aggregator_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of an export.

    Raises:
        ValueError: it is no export of ours, or damaged; the message is the reason alone.
        OSError: it cannot be read.
    """
    description = _description(path)
    try:
        return description, load_file(path)
    except SafetensorError as error:
        raise ValueError(f"its tensors are damaged: {error}") from error


def is_aggregator_file(path: Path) -> bool:
    """Whether a file is an export of ours, by its header.

    Raises:
        OSError: it cannot be read.
    """
    try:
        _description(path)
    except ValueError:
        return False
    return True


def _description(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(_header(path))
        text = header["__metadata__"][DESCRIPTION]
        description = json.loads(text)
    except (KeyError, TypeError) as error:
        raise ValueError(f"its header has no '{DESCRIPTION}'") from error
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    if not isinstance(description, dict):
        raise ValueError(f"'{DESCRIPTION}' in its header is no object")
    return description


def _header(path: Path) -> bytes:
    """The header's JSON.

    Raises:
        ValueError: it claims to be longer than the file, or than any of ours.
    """
    with path.open("rb") as file:
        num_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        limit = min(MAX_HEADER_BYTES, path.stat().st_size - _LENGTH_BYTES)
        if not 0 < num_bytes <= limit:
            raise ValueError(f"its header claims {num_bytes} bytes, where {max(limit, 0)} are possible")
        return file.read(num_bytes)
