"""The digests of the format: of the table of videos, of a plan, of a committed block. Explicit bytes, no pickles.

``FORMAT.md`` gives them byte by byte; ``tests/store/test_independent_reader.py`` recomputes them from that text alone.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_video.store.augmentation import AUGMENTATION_NAMES
from scale_video.store.canonical_json import canonical_json
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.schema import AUGMENTATION_ARRAY, PROBE_ARRAYS
from scale_video.store.video_table import VideoTable


def videos_digest(table: VideoTable) -> str:
    """blake2b-16 of all columns of the table, hexadecimal; columns that a table lacks leave no trace."""
    digest = hashlib.blake2b(digest_size=16)
    for name, texts in (("id", table.ids), ("path", table.paths), ("group", table.groups)):
        digest.update(_column(name, texts, dtype="string"))
    for name, label in sorted(table.labels.items()):
        digest.update(_column(name, label, dtype="int32"))
        digest.update(_column("class_names", table.class_names.get(name, ()), dtype="string"))
    for name, split in sorted(table.splits.items()):
        digest.update(_column(f"split_{name}", split, dtype="uint8"))
    for name, labels in sorted(table.label_sets.items()):
        digest.update(_column(name, labels.reshape(-1), dtype="int8"))
        digest.update(_column("class_names", table.class_names[name], dtype="string"))
    for name, target in sorted(table.targets.items()):
        digest.update(_column(name, target, dtype="float32"))
    for name, bounds in (("start_seconds", table.start_seconds), ("end_seconds", table.end_seconds)):
        if bounds is not None:
            digest.update(_column(name, bounds, dtype="float64"))
    return digest.hexdigest()


def probes_digest(columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> str:
    """blake2b-16 of the columns that the probe filled, hexadecimal.

    Args:
        columns: the values of each of ``PROBE_ARRAYS``.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, layout in PROBE_ARRAYS.items():
        digest.update(_column(name, columns[name], dtype=layout.dtype))
    return digest.hexdigest()


def plan_digest(plan: ClipPlan, *, videos: str) -> str:
    """blake2b-16 of the videos' digest, the view's name and parameters, and all that is drawn, hexadecimal."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(_texts([videos, plan.view, canonical_json(plan.parameters, what="parameters")]))
    digest.update(np.ascontiguousarray(plan.coordinates, dtype="<f4").tobytes())
    digest.update(np.ascontiguousarray(plan.valid, dtype="u1").tobytes())
    digest.update(np.ascontiguousarray(plan.planned, dtype="u1").tobytes())
    if plan.augmentation is not None:
        digest.update(_texts([AUGMENTATION_ARRAY, *AUGMENTATION_NAMES]))
        digest.update(np.ascontiguousarray(plan.augmentation, dtype="<f4").tobytes())
    return digest.hexdigest()


def block_digest(block: FeatureBlock, *, plan: str) -> int:
    """The commit mark of a block: blake2b-8 read as a little-endian uint64, with 0 replaced by 1.

    Args:
        block: the block as decoded from the store.
        plan: the view's plan digest, hexadecimal.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(bytes.fromhex(plan))
    digest.update(struct.pack("<Q", block.index))
    digest.update(np.ascontiguousarray(block.features, dtype="<f2").tobytes())
    digest.update(np.ascontiguousarray(block.valid, dtype="u1").tobytes())
    digest.update(np.ascontiguousarray(block.status, dtype="u1").tobytes())
    digest.update(_texts(block.error))
    mark: int = struct.unpack("<Q", digest.digest())[0]
    return mark or 1


def _column(name: str, values: Sequence[Any] | NDArray[Any], *, dtype: str) -> bytes:
    """A named column: its name, the number of its values, and the values; no two columns have the same bytes."""
    header = _texts([name]) + struct.pack("<Q", len(values))
    if dtype == "string":
        return header + _texts(str(value) for value in values)
    return header + np.asarray(values, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()


def _texts(texts: Iterable[str]) -> bytes:
    """Each text as its length in bytes (uint32, little-endian) and its UTF-8: ["a", "bc"] differs from ["ab", "c"]."""
    encoded = [text.encode() for text in texts]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)
