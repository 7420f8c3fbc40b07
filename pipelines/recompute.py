"""``scale-video verify --recompute``: whether features are those of these videos, clips and weights.

Digests tell that a store holds what was committed; not that what was committed is right. Here clips are decoded and
embedded again and compared by cosine distance. Blocks are drawn without repetition before clips within them, so that as
many blocks as possible are looked into: of a store with a share s of wrong blocks, N videos miss them all with
probability (1 - s)^N at most.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.registry import parse_backbone
from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits
from scale_video.extract.probe import content_digest
from scale_video.extract.video_file import VideoFileError
from scale_video.pipelines.console import ticking
from scale_video.pipelines.drift import ClipDrift, DriftReport, TargetDrift
from scale_video.pipelines.find_video import resolve_data_root
from scale_video.pipelines.recorded_backbone import check_recorded, load_recorded
from scale_video.pipelines.row_clips import row_order
from scale_video.store.read import FeatureStore
from scale_video.store.union import store_urls
from scale_video.store.video_probe import VideoStatus

CLIPS_PER_VIDEO: Final = 4
"""A file is opened once for so many clips."""
NUM_WORST: Final = 5


@dataclass(frozen=True, slots=True)
class RecomputeRequest:
    """What is to be compared."""

    store: str
    num_clips: int
    """Of each view and backbone."""
    data_root: Path | None = None
    seed: int = 0
    tolerance: float = 1e-3
    """Largest cosine distance that counts as equal; the same code on the same machine gives about 1e-8."""
    backbones: tuple[str, ...] = ()
    """``family:source@name``: where weights are that the store's own ``source`` does not lead to."""
    device: str = "auto"
    limits: DecodeLimits = field(default_factory=DecodeLimits)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Some clips of one video, with their stored features."""

    row: int
    clips: NDArray[np.int64]
    features: NDArray[np.float16]


class Recomputation:
    """A comparison that is ready to run: the folder is there, and the weights are the right ones."""

    def __init__(self, request: RecomputeRequest) -> None:
        """Open the stores and load the backbones.

        Raises:
            StoreError: a store cannot be read, or the weights are others than those it records.
            ValueError: no folder of videos, or weights that cannot be had.
        """
        self._request = request
        self._targets = [
            _Target(store, view, name, root=resolve_data_root(store, request.data_root))
            for store in (FeatureStore.open(url) for url in store_urls(request.store))
            for view in store.views()
            for name in store.backbones(view)
        ]
        given = {backbone.name: backbone for backbone in map(parse_backbone, request.backbones)}
        backbones: dict[tuple[str, ...], Backbone] = {}
        for target in self._targets:
            described = ("weights_digest", "layer", "preprocessing", "num_frames", "precision")
            key = target.name, *(str(target.attributes.get(name)) for name in described)
            if key not in backbones:
                backbones[key] = load_recorded(
                    target.name, target.attributes, device=request.device, given=given.get(target.name)
                )
            target.backbone = backbones[key]
            where = f"{target.features} in store {target.store.location.url!r}"
            check_recorded(target.backbone, target.name, target.attributes, where=where)

    def run(self) -> DriftReport:
        """Decode, embed and compare.

        Raises:
            StoreError: a block cannot be read.
        """
        request, num_done = self._request, 0
        total = len(self._targets) * request.num_clips
        with closing(ClipDecoders(request.limits)) as decoders, ticking("recomputing clips", total) as ticker:
            for number, target in enumerate(self._targets):
                generator = np.random.default_rng([request.seed, number])
                for sample in _draw(target.store, target.view, target.name, request.num_clips, generator=generator):
                    target.compare(sample, decoders)
                    num_done += len(sample.clips)
                    ticker.update(num_done)
        return DriftReport(request.tolerance, tuple(target.report(request.tolerance) for target in self._targets))


class _Target:
    """One backbone in one view of a store, and what its comparison finds."""

    backbone: Backbone

    def __init__(self, store: FeatureStore, view: str, name: str, *, root: Path) -> None:
        self.store = store
        self.view = view
        self.name = name
        self.attributes = store.backbone_attributes(view, name)
        self._root = root
        self._num_frames, self._frame_size = int(self.attributes["num_frames"]), int(self.attributes["frame_size"])
        self._found: list[ClipDrift] = []
        self._num_missing = self._num_undecodable = 0
        self._first_error = ""

    @property
    def features(self) -> str:
        """``<view>/<backbone>``."""
        return f"{self.view}/{self.name}"

    def compare(self, sample: _Sample, decoders: ClipDecoders) -> None:
        """Decode and embed the clips of a sample, and note their distances."""
        rows = slice(sample.row, sample.row + 1)
        name, probe = self.store.file_names(rows)[0], self.store.probes(rows)[0]
        order = row_order(
            self.store,
            sample.row,
            view=self.view,
            clips=sample.clips,
            num_frames=self._num_frames,
            frame_size=self._frame_size,
            root=self._root,
        )
        decoded = next(decoders.decode([order])).clips[0]
        if decoded.status == VideoStatus.MISSING:
            self._num_missing += len(sample.clips)
            return
        if not decoded.valid.all():
            self._num_undecodable += int((~decoded.valid).sum())
            self._first_error = self._first_error or f"{name}: {decoded.status.name.lower()}, {decoded.error}"
        if not decoded.valid.any():
            return
        clips = torch.from_numpy(decoded.frames[decoded.valid]).to(self.backbone.device)
        vectors = self.backbone.embed(clips).cpu().numpy()
        distances = _cosine_distances(vectors, sample.features[decoded.valid])
        changed = _content_digest(order.path) != probe.content_digest
        self._found += [
            ClipDrift(name, sample.row, int(clip), float(distance), changed)
            for clip, distance in zip(sample.clips[decoded.valid], distances, strict=True)
        ]

    def report(self, tolerance: float) -> TargetDrift:
        """What was found."""
        distances = [drift.distance for drift in self._found]
        farthest = sorted(self._found, key=lambda drift: -drift.distance)
        return TargetDrift(
            features=self.features,
            num_clips=len(distances),
            num_videos=len({drift.row for drift in self._found}),
            median=float(np.median(distances)) if distances else float("nan"),
            largest=max(distances, default=float("nan")),
            num_missing=self._num_missing,
            num_undecodable=self._num_undecodable,
            first_error=self._first_error,
            worst=tuple(d for i, d in enumerate(farthest[:NUM_WORST]) if i == 0 or d.distance > tolerance),
        )


def _draw(
    store: FeatureStore, view: str, backbone: str, num_clips: int, *, generator: np.random.Generator
) -> Iterator[_Sample]:
    """Draw valid clips: blocks in random order, one video of each at a time; again from the first if need be."""
    blocks = generator.permutation(np.flatnonzero(store.committed(view, backbone)))
    taken: dict[int, set[int]] = {}  # rows by block
    while len(blocks) and num_clips > 0:
        fruitful = []
        for index in blocks.tolist():
            if num_clips <= 0:
                return
            block = store.read_block(view, backbone, index)
            there = set(np.flatnonzero(block.valid.any(axis=1)).tolist()) - taken.setdefault(index, set())
            if not there:
                continue
            fruitful.append(index)
            place = int(generator.choice(sorted(there)))
            taken[index].add(place)
            valid = np.flatnonzero(block.valid[place])
            count = min(CLIPS_PER_VIDEO, num_clips, len(valid))
            clips = np.sort(generator.choice(valid, count, replace=False))
            num_clips -= count
            yield _Sample(store.block_rows(index).start + place, clips, block.features[place, clips])
        blocks = np.array(fruitful, dtype=np.int64)


def _cosine_distances(ours: NDArray[np.float32], stored: NDArray[np.float16]) -> NDArray[np.float64]:
    """Of each pair of rows, shape (K,); 0 for two zeros, 1 for a zero and something else."""
    a, b = ours.astype(np.float64), stored.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    equal_zeros = (a == b).all(axis=1)
    cosines = np.divide((a * b).sum(axis=1), norms, out=equal_zeros.astype(np.float64), where=norms > 0)
    distances: NDArray[np.float64] = 1 - cosines
    return distances


def _content_digest(path: Path) -> int:
    try:
        return content_digest(path)
    except VideoFileError:
        return 0
