"""The page of one video: what is known of it, its clips in time and space, and its neighbours."""

import math
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from scale_video.pipelines.explorer.background import Task
from scale_video.pipelines.explorer.catalogue import Catalogue
from scale_video.pipelines.explorer.clip_times import (
    ShownFrame,
    TimeLine,
    clock,
    frames_with_boxes,
    shown_times,
    time_line,
)
from scale_video.pipelines.explorer.feature_set import FeatureSet
from scale_video.pipelines.explorer.outcomes import status_name
from scale_video.pipelines.explorer.url_state import VideoState
from scale_video.pipelines.explorer.way_back import WayBack
from scale_video.store.augmentation import AUGMENTATION_NAMES
from scale_video.store.clip_plan import Coordinate
from scale_video.store.schema import AUGMENTATION_ARRAY
from scale_video.store.union import ReadableStore, member_row
from scale_video.store.video_probe import VideoProbe, VideoStatus

MAX_TOP: Final = 96


@dataclass(frozen=True, slots=True)
class Card:
    """A neighbour."""

    name: str
    href: str
    classes: tuple[str, ...]
    same_class: bool
    score: float
    clip: int | None
    picture: str
    """Address of a picture; empty where there is none."""
    why_none: str


@dataclass(frozen=True, slots=True)
class NeighbourSection:
    """Who is near, or why that cannot be said (yet)."""

    choices: tuple[str, ...] = ()
    by: str = ""
    of: str = "video"
    cards: tuple[Card, ...] = ()
    summary: str = ""
    problem: str = ""
    hint: str = ""
    waiting: tuple[Task, ...] = ()
    everywhere_href: str = ""
    """Where all clips are compared, if these are not all."""
    everywhere_text: str = ""


@dataclass(frozen=True, slots=True)
class VideoClips:
    """A video's clips in one view, as planned and as extracted."""

    coordinates: NDArray[np.float32]
    """Shape (K, C = 7)."""
    planned: NDArray[np.bool_]
    has_feature: NDArray[np.bool_]
    augmentation: NDArray[np.float32] | None
    """Shape (K, A)."""

    @classmethod
    def read(cls, store: ReadableStore, row: int, features: FeatureSet) -> "VideoClips":
        """Read one row of the plan, and of what is valid.

        Raises:
            StoreError: it cannot be read.
        """
        one, own_row = member_row(store, row)
        if features.view is None:
            nothing = np.zeros(0, np.bool_)
            return cls(np.zeros((0, len(Coordinate)), np.float32), nothing, nothing, None)
        plan = one.plan_arrays(features.view)
        planned = np.asarray(plan["valid"][own_row]).astype(np.bool_)
        valid = np.zeros_like(planned)
        block = np.array([own_row // one.block_size])
        if features.backbone is not None and one.committed(features.view, features.backbone, block)[0]:
            valid = np.asarray(one.backbone_arrays(features.view, features.backbone)["valid"][own_row])
        augmentation = np.asarray(plan[AUGMENTATION_ARRAY][own_row]) if AUGMENTATION_ARRAY in plan else None
        return cls(np.asarray(plan["coordinates"][own_row]), planned, valid, augmentation)

    def facts(self, clip: int) -> tuple[tuple[str, str], ...]:
        """What is known of one."""
        values = dict(zip(Coordinate, self.coordinates[clip].tolist(), strict=True))
        sides = ", ".join(
            f"{side.name.lower()} {values[side]:.3f}"
            for side in (Coordinate.TOP, Coordinate.LEFT, Coordinate.BOTTOM, Coordinate.RIGHT)
        )
        facts = [
            ("seconds", f"{values[Coordinate.START]:.3f} – {values[Coordinate.END]:.3f}"),
            ("box", sides),
            ("mirrored", "yes" if values[Coordinate.FLIP] else "no"),
            ("feature", "there" if self.has_feature[clip] else "none"),
        ]
        if self.augmentation is not None:
            changes = zip(AUGMENTATION_NAMES, self.augmentation[clip].tolist(), strict=True)
            facts.append(("colours", ", ".join(f"{name} {value:.3g}" for name, value in changes)))
        return tuple(facts)


@dataclass(frozen=True, slots=True)
class VideoPage:
    """What the template shows."""

    state: VideoState
    row: int
    name: str
    way_back: WayBack
    features: str
    facts: tuple[tuple[str, str], ...]
    outcomes: tuple[tuple[str, str, str], ...]
    """Features, status, reason."""
    classes: tuple[str, ...]
    why_no_file: str
    file: str
    """Address of the file itself."""
    aspect: float
    """Width over height of a frame."""
    frames: tuple[ShownFrame, ...]
    """None where the file could not be read."""
    frames_picture: str
    line: TimeLine
    clip: int | None
    clip_facts: tuple[tuple[str, str], ...]
    strip: str
    film: str
    neighbours: NeighbourSection


def video_page(
    store: ReadableStore,
    catalogue: Catalogue,
    row: int,
    state: VideoState,
    features: FeatureSet,
    *,
    why_no_file: str,
    way_back: WayBack,
    neighbours: NeighbourSection,
) -> VideoPage:
    """Find what is shown.

    Raises:
        StoreError: the plan cannot be read.
        ValueError: there is no such clip.
    """
    probe = store.probes(slice(row, row + 1))[0]
    clips = VideoClips.read(store, row, features)
    clip = state.clip if state.clip >= 0 else None
    if clip is not None and not (clip < len(clips.planned) and clips.planned[clip]):
        raise ValueError(f"the video has no clip {clip} in {features.name}")
    begin, duration = part_of(store, catalogue, row)
    times = shown_times(clips.coordinates, clips.planned, begin=begin, duration=duration, clip=clip)
    of_clip = "" if clip is None else f"/video/{row}/clip/{clip}"
    of_features = query(features=state.features)
    return VideoPage(
        state=state,
        row=row,
        name=catalogue.names[row],
        way_back=way_back,
        features=features.name,
        facts=_facts(catalogue, row, probe, group=str(store.column("group", slice(row, row + 1))[0])),
        outcomes=_outcomes(store, row),
        classes=catalogue.classes(row, catalogue.label_column(state.label)),
        why_no_file=why_no_file,
        file=f"/video/{row}/file",
        aspect=probe.width / probe.height if probe.height else 1.0,
        frames=frames_with_boxes(times, clips.coordinates, clips.planned) if probe.status == VideoStatus.OK else (),
        frames_picture=f"/video/{row}/frames.png{query(features=state.features, clip='' if clip is None else clip)}",
        line=time_line(clips.coordinates, clips.planned, clips.has_feature, begin=begin, duration=duration),
        clip=clip,
        clip_facts=() if clip is None else clips.facts(clip),
        strip=of_clip and f"{of_clip}.png{of_features}",
        film=of_clip and f"{of_clip}.mp4{of_features}",
        neighbours=neighbours,
    )


def part_of(store: ReadableStore, catalogue: Catalogue, row: int) -> tuple[float, float]:
    """Where a video begins in its file, and how long it is, seconds."""
    one, own_row = member_row(store, row)
    begin = float(one.parts(slice(own_row, own_row + 1)).begin_seconds[0])
    return begin, max(0.0, float(catalogue.durations[row]))


def query(**given: Any) -> str:
    """The query of an address, without what is empty."""
    kept = {name: value for name, value in given.items() if value != ""}
    return f"?{urlencode(kept)}" if kept else ""


def _outcomes(store: ReadableStore, row: int) -> tuple[tuple[str, str, str], ...]:
    """What became of a video under each of the store's backbones, read from the one block that holds it."""
    one, own_row = member_row(store, row)
    found = []
    for view in one.views():
        for backbone in one.backbones(view):
            index = own_row // one.block_size
            if one.committed(view, backbone, np.array([index]))[0]:
                arrays = one.backbone_arrays(view, backbone)
                status, error = int(arrays["status"][own_row]), str(arrays["error"].rows(np.array([own_row]))[0])
            else:
                status, error = int(VideoStatus.PENDING), ""
            found.append((f"{view}/{backbone}", status_name(status), error))
    return tuple(found)


def _facts(catalogue: Catalogue, row: int, probe: VideoProbe, *, group: str) -> tuple[tuple[str, str], ...]:
    facts = {column: ", ".join(catalogue.classes(row, column)) for column in catalogue.labels}
    facts["split"] = catalogue.split_text(row)
    facts["group"] = "" if group == catalogue.names[row] else group
    numbers = {name: float(column[row]) for name, column in catalogue.targets.items()}
    facts |= {name: "" if math.isnan(number) else f"{number:.6g}" for name, number in numbers.items()}
    if probe.status == VideoStatus.OK:
        varying = ", varying" if probe.variable_frame_rate else ""
        turned = f", turned by {probe.rotation_degrees}°" if probe.rotation_degrees else ""
        facts["duration"] = clock(float(catalogue.durations[row]))
        facts["frames"] = f"{probe.num_frames}, {probe.frames_per_second:.5g} a second{varying}"
        facts["size"] = f"{probe.width} × {probe.height}{turned}"
    else:
        facts["file"] = f"{probe.status.name.lower()}: {probe.error}"
    return tuple((name, text) for name, text in facts.items() if text)
