"""A reader written from FORMAT.md with the standard library alone: what the page says is what the code writes."""

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scale_video.store.read import FeatureStore

GOLDEN = Path(__file__).parents[1] / "data/stores/v1/golden.zarr"
ITEM_BYTES = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int32": 4,
    "int64": 8,
    "uint64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
}


def crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Array:
    """One array: its metadata, and the bytes (or texts) of its rows."""

    def __init__(self, folder: Path) -> None:
        metadata = json.loads((folder / "zarr.json").read_text())
        self.folder = folder
        self.dtype = metadata["data_type"]
        self.shape = metadata["shape"]
        self.dimensions = metadata["dimension_names"]
        self.chunk_rows, *others = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        assert others == self.shape[1:]
        assert metadata["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "."}}
        assert metadata["fill_value"] == {"f": "NaN", "s": "", "b": False}.get(self.dtype[0], metadata["fill_value"])
        first, second = metadata["codecs"]
        assert second == {"name": "crc32c"}
        expected = {"bytes"} if self.dtype != "string" else {"vlen-utf8"}
        assert {first["name"]} == expected
        if self.dtype != "string" and ITEM_BYTES[self.dtype] > 1:
            assert first["configuration"] == {"endian": "little"}

    def chunk(self, index: int) -> bytes:
        content = (self.folder / f"c.{index}{'.0' * (len(self.shape) - 1)}").read_bytes()
        assert struct.unpack("<I", content[-4:])[0] == crc32c(content[:-4])
        return content[:-4]

    def rows(self, start: int, stop: int) -> bytes | list[str]:
        """Rows [start, stop), which are the first of their chunk."""
        chunk = self.chunk(start // self.chunk_rows)
        if self.dtype == "string":
            return texts_of(chunk)[: stop - start]
        row_bytes = ITEM_BYTES[self.dtype] * math.prod(self.shape[1:])
        assert len(chunk) == row_bytes * self.chunk_rows
        return chunk[: row_bytes * (stop - start)]

    def all(self) -> Any:
        starts = range(0, self.shape[0], self.chunk_rows)
        parts = [self.rows(start, min(start + self.chunk_rows, self.shape[0])) for start in starts]
        return b"".join(parts) if self.dtype != "string" else [text for part in parts for text in part]


def texts_of(chunk: bytes) -> list[str]:
    count, place, texts = struct.unpack_from("<I", chunk)[0], 4, []
    for _ in range(count):
        length = struct.unpack_from("<I", chunk, place)[0]
        texts.append(chunk[place + 4 : place + 4 + length].decode())
        place += 4 + length
    assert place == len(chunk)
    return texts


def text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


def values(content: bytes | Iterable[str]) -> bytes:
    return content if isinstance(content, bytes) else b"".join(text(value) for value in content)


def column(name: str, array: Array) -> bytes:
    return text(name) + struct.pack("<Q", math.prod(array.shape)) + values(array.all())


def labels(videos: Path, names: Iterable[str]) -> bytes:
    content = b""
    for name in names:
        class_names = attributes(videos)["class_names"][name]
        content += column(name, Array(videos / name))
        content += text("class_names") + struct.pack("<Q", len(class_names)) + values(class_names)
    return content


def canonical(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{canonical(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(entry) for entry in value) + "]"
    if isinstance(value, float) and value == int(value) and abs(value) < 2**53:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


def attributes(group: Path) -> Any:
    return json.loads((group / "zarr.json").read_text())["attributes"]


@pytest.fixture(params=["golden", "full", "rich"])
def root(request: pytest.FixtureRequest, templates: Path) -> Path:
    return GOLDEN if request.param == "golden" else templates / f"{request.param}.zarr"


def test_videos_digest(root: Path) -> None:
    videos = root / "videos"
    names = sorted(path.name for path in videos.iterdir() if path.is_dir())
    content = b"".join(column(name, Array(videos / name)) for name in ("id", "path", "group"))
    content += labels(videos, [name for name in names if name == "label" or name.startswith("label_")])
    content += b"".join(column(name, Array(videos / name)) for name in names if name.startswith("split_"))
    content += labels(videos, [name for name in names if name == "labels" or name.startswith("labels_")])
    for name in names:
        if name == "target" or name.startswith("target_"):
            content += column(name, Array(videos / name))
    for name in ("start_seconds", "end_seconds"):
        content += column(name, Array(videos / name)) if name in names else b""
    assert hashlib.blake2b(content, digest_size=16).hexdigest() == attributes(root)["videos_digest"]
    assert Array(videos / "video").all() == Array(videos / "id").all()


def test_probes_digest(root: Path) -> None:
    names = (
        "duration_seconds frames_per_second num_frames height width rotation_degrees variable_frame_rate "
        "content_digest probe_status probe_error"
    )
    content = b"".join(column(name, Array(root / "videos" / name)) for name in names.split())
    assert hashlib.blake2b(content, digest_size=16).hexdigest() == attributes(root)["probes_digest"]


@pytest.mark.parametrize("view", ["random", "grid"])
def test_plan_digest(root: Path, view: str) -> None:
    group = root / view
    content = text(attributes(root)["videos_digest"]) + text(view) + text(canonical(attributes(group)["parameters"]))
    content += b"".join(values(Array(group / name).all()) for name in ("coordinates", "valid", "planned"))
    assert hashlib.blake2b(content, digest_size=16).hexdigest() == attributes(group)["plan_digest"]
    assert Array(group / "coordinate").all() == ["flip", "top", "left", "bottom", "right", "start", "end"]
    assert Array(group / "coordinates").shape[1] == attributes(group)["num_clips"]


def test_marks_and_features(root: Path) -> None:
    group = root / "random/motion3d"
    num_videos, block_size = attributes(root)["num_videos"], attributes(root)["block_size"]
    num_blocks = math.ceil(num_videos / block_size)
    arrays = {name: Array(group / name) for name in ("features", "valid", "status", "error", "commit")}
    assert arrays["commit"].shape == [num_blocks]
    assert arrays["features"].dimensions == ["video", "clip", "feature"]
    store = FeatureStore.open(root)
    for index in range(num_blocks):
        start, stop = index * block_size, min((index + 1) * block_size, num_videos)
        found = {name: arrays[name].rows(start, stop) for name in ("features", "valid", "status", "error")}
        content = bytes.fromhex(attributes(root / "random")["plan_digest"]) + struct.pack("<Q", index)
        content += b"".join(values(part) for part in found.values())
        mark = struct.unpack("<Q", hashlib.blake2b(content, digest_size=8).digest())[0] or 1
        assert struct.unpack("<Q", arrays["commit"].chunk(index))[0] == mark
        ours = store.read_block("random", "motion3d", index)
        assert ours.features.tobytes() == found["features"]
        assert ours.valid.tobytes() == found["valid"]
        assert ours.status.tobytes() == found["status"]
        assert list(ours.error) == found["error"]


def test_values_beyond_the_array_are_the_fill_value(root: Path) -> None:
    group = root / "random/motion3d"
    num_videos, block_size = attributes(root)["num_videos"], attributes(root)["block_size"]
    last, used = (num_videos - 1) // block_size, (num_videos - 1) % block_size + 1
    features = Array(group / "features")
    row_bytes = 2 * math.prod(features.shape[1:])
    beyond = np.frombuffer(features.chunk(last)[used * row_bytes :], dtype="<u2")
    assert len(beyond) > 0
    assert (beyond == 0x7E00).all()
    assert not any(Array(group / "valid").chunk(last)[used * features.shape[1] :])
    assert not any(Array(group / "status").chunk(last)[used:])
    assert texts_of(Array(group / "error").chunk(last))[used:] == [""] * (block_size - used)
