"""The digests of the format: of the table of videos, of a plan, of a committed block. Explicit bytes, no pickles."""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from scale_video.store.clip_plan import ClipPlan
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.video_table import VideoTable


def canonical_json(value: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no white space, so that equal values have equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def videos_digest(table: VideoTable) -> str:
    """blake2b-16 of every column of the table, hexadecimal."""
    digest = hashlib.blake2b(digest_size=16)
    for name, column in (("id", table.ids), ("path", table.paths), ("group", table.groups)):
        digest.update(_framed_text([name]))
        digest.update(_framed_text(column))
    for name, label in sorted(table.labels.items()):
        digest.update(_framed_text([name, *table.class_names[name]]))
        digest.update(np.ascontiguousarray(label, dtype="<i4").tobytes())
    for name, split in sorted(table.splits.items()):
        digest.update(_framed_text([f"split_{name}"]))
        digest.update(np.ascontiguousarray(split, dtype="u1").tobytes())
    return digest.hexdigest()


def plan_digest(plan: ClipPlan, *, videos: str) -> str:
    """blake2b-16 of the videos' digest, the view's name and parameters, and every coordinate, hexadecimal."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(_framed_text([videos, plan.view, canonical_json(plan.parameters)]))
    digest.update(np.ascontiguousarray(plan.coordinates, dtype="<f4").tobytes())
    digest.update(np.ascontiguousarray(plan.valid, dtype="u1").tobytes())
    digest.update(np.ascontiguousarray(plan.planned, dtype="u1").tobytes())
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
    digest.update(_framed_text(block.error))
    mark: int = struct.unpack("<Q", digest.digest())[0]
    return mark or 1


def _framed_text(texts: Iterable[str]) -> bytes:
    """Each text as its length in bytes (uint32, little-endian) and its UTF-8: ["a", "bc"] differs from ["ab", "c"]."""
    encoded = [text.encode() for text in texts]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)
