"""Clip features straight from video files: probed, drawn, decoded and embedded here, without a store or a cluster.

Clips are drawn as a store's are, from the seed and the video's id; so a file whose id and bytes are those of a row of a
store gets the features of that row, up to what another batch or device changes in the last bits.
"""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.clip_decoders import ClipDecoders, VideoOrder
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.draw_plan import ProbedVideos, draw_view
from scale_video.extract.forward_batches import ForwardBatches
from scale_video.pipelines.feature_recipe import FeatureRecipe
from scale_video.pipelines.planning import batch_size
from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.names import check_text
from scale_video.store.video_probe import VideoProbe, VideoStatus

FILES_AT_A_TIME: Final = 32
"""Files whose features are in memory together."""


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A file that is to be embedded."""

    path: Path
    """Absolute."""
    shown: str
    """The path as it was given."""
    id: str
    """Seeds the draw of its clips."""


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of a file."""

    path: str
    id: str
    status: VideoStatus
    error: str
    """One line; empty where nothing is wrong."""


@dataclass(frozen=True, slots=True)
class FileFeatures:
    """Features of some files."""

    outcomes: tuple[FileOutcome, ...]
    """One for each file, in order."""
    features: ClipFeatures
    """Of all of them; no clip of a file that could not be had is valid."""
    orders: tuple[VideoOrder | None, ...]
    """What decodes the clips of each; None for one that has none."""


def name_files(paths: Sequence[Path], *, data_root: Path | None) -> list[VideoFile]:
    """Give files the ids that their clips are drawn by.

    Args:
        paths: Of the files.
        data_root: Ids are the paths beneath this folder, as in a store of its videos; None: the files' names.

    Raises:
        ValueError: a file lies outside the folder, two have one id, or an id has no UTF-8.
    """
    files: dict[str, VideoFile] = {}
    for path in paths:
        name = (
            path.name if data_root is None else Path(os.path.relpath(path.absolute(), data_root.absolute())).as_posix()
        )
        if name.startswith("../"):
            raise ValueError(f"{str(path)!r} does not lie beneath {str(data_root)!r}; name another folder by --data")
        check_text(name, what="file name")
        video_id = unicodedata.normalize("NFC", name)
        if video_id in files:
            raise ValueError(
                f"{str(path)!r} and {files[video_id].shown!r} have the same id, {video_id!r}, from which clips are "
                "drawn; name the folder that their paths begin with by --data"
            )
        files[video_id] = VideoFile(path.absolute(), str(path), video_id)
    return list(files.values())


def read_files(
    files: Sequence[VideoFile], recipe: FeatureRecipe, backbone: Backbone, decoders: ClipDecoders
) -> Iterator[FileFeatures]:
    """Features of files, some at a time, in order. Bad files get a status and an error; the others go on.

    Args:
        files: Any number.
        recipe: How features are made.
        backbone: Of the recipe, ready to run.
        decoders: Processes that look at files and decode them.

    Raises:
        ValueError: see ``FeatureRecipe.drawn_view``; or float16 can hold no feature at all.
    """
    view = recipe.drawn_view()
    for first in range(0, len(files), FILES_AT_A_TIME):
        some = files[first : first + FILES_AT_A_TIME]
        probes = list(decoders.probe([file.path for file in some]))
        plan = draw_view(view, ProbedVideos.of([file.id for file in some], probes))
        yield _features(some, probes, plan, recipe, backbone, decoders)


def _features(
    files: Sequence[VideoFile],
    probes: Sequence[VideoProbe],
    plan: ClipPlan,
    recipe: FeatureRecipe,
    backbone: Backbone,
    decoders: ClipDecoders,
) -> FileFeatures:
    orders = [
        _order(file, probe, plan, row, recipe) for row, (file, probe) in enumerate(zip(files, probes, strict=True))
    ]
    num_planned = int(plan.valid.sum())
    batches = ForwardBatches(
        backbone,
        batch_size=_batch_size(recipe, backbone, num_clips=max(1, num_planned)),
        clip_shape=(recipe.num_frames, recipe.frame_size, recipe.frame_size, 3),
        block_shape=(*plan.valid.shape, int(recipe.attributes["feature_dim"])),
    )
    outcomes = [(probe.status, probe.error) for probe in probes]
    planned = [row for row, order in enumerate(orders) if order is not None]
    for row, decoded in zip(planned, decoders.decode(filter(None, orders)), strict=True):
        (clips,) = decoded.clips
        outcomes[row] = clips.status, clips.error
        for clip in np.flatnonzero(clips.valid).tolist():
            batches.add(clips.frames[clip], video=row, clip=clip)
    batches.finish()
    for row in np.flatnonzero(batches.overflows.any(axis=1)).tolist():
        status = VideoStatus.PARTIAL if batches.valid[row].any() else VideoStatus.CORRUPT
        outcomes[row] = status, f"{batches.overflows[row].sum()} clips have features that float16 cannot hold"
    valid = batches.valid
    return FileFeatures(
        outcomes=tuple(
            FileOutcome(file.shown, file.id, *outcome) for file, outcome in zip(files, outcomes, strict=True)
        ),
        features=ClipFeatures(
            video_ids=tuple(file.id for file in files),
            features=np.where(valid[:, :, None], batches.features, np.float16(0)),
            coordinates=np.where(valid[:, :, None], plan.coordinates, np.float32(0)),
            valid=valid,
        ),
        orders=tuple(orders),
    )


def _order(file: VideoFile, probe: VideoProbe, plan: ClipPlan, row: int, recipe: FeatureRecipe) -> VideoOrder | None:
    if not plan.valid[row].any():
        return None
    request = ClipRequest(
        plan.coordinates[row],
        plan.valid[row],
        recipe.num_frames,
        recipe.frame_size,
        augmentation=None if plan.augmentation is None else plan.augmentation[row],
    )
    return VideoOrder(file.path, probe.duration_seconds, (request,))


def _batch_size(recipe: FeatureRecipe, backbone: Backbone, *, num_clips: int) -> int:
    """Clips in a forward pass; the last one is padded, so the passes are made equally large."""
    return batch_size(recipe.num_frames, recipe.frame_size, device=backbone.device.type, clips_per_block=num_clips)
