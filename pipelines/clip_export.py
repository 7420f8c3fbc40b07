"""``scale-video show``: the exact crop behind a row of a store, as numbers and as pixels.

The pixels come from the decoder of the job itself, with the frames and the size that the backbone was given: what one
sees is what the network saw.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits, VideoOrder
from scale_video.extract.sample_frames import sample_times
from scale_video.pipelines.clip_files import FORMATS, write_clip
from scale_video.pipelines.find_video import close_matches, find_in_stores, resolve_data_root
from scale_video.pipelines.paths import choose_backbone
from scale_video.pipelines.row_clips import row_order
from scale_video.store.augmentation import AUGMENTATION_NAMES
from scale_video.store.clip_plan import Coordinate
from scale_video.store.errors import MissingArrayError
from scale_video.store.read import FeatureStore
from scale_video.store.schema import AUGMENTATION_ARRAY
from scale_video.store.stored_array import StoredArray
from scale_video.store.union import store_urls
from scale_video.store.video_probe import VideoStatus

DEFAULT_NUM_FRAMES: Final = 16
"""Of a view without a backbone: the paper's."""


@dataclass(frozen=True, slots=True)
class ClipQuery:
    """Which clip is to be shown."""

    store: str
    """Path or URL; several, separated by commas, are searched in order."""
    video: str
    """Id, path or row."""
    clip: int
    """From 0."""
    view: str = "random"
    backbone: str | None = None
    """Name; the view's only one when None."""
    data_root: Path | None = None
    num_frames: int | None = None
    """The backbone's when None."""
    frame_size: int | None = None
    """Likewise."""
    output: Path | None = None
    """A ``.png`` or ``.mp4``; a png in the current folder, named after the clip, when None."""
    limits: DecodeLimits = field(default_factory=DecodeLimits)


@dataclass(frozen=True, slots=True)
class ShownClip:
    """Where a clip is, and what became of it."""

    store: str
    id: str
    path: str
    row: int
    view: str
    clip: int
    num_clips: int
    """Planned clips of the video."""
    flip: bool
    """Whether the clip is mirrored left-right."""
    box: tuple[float, float, float, float]
    """Top, left, bottom, right, as fractions of the upright frame."""
    augmentation: Mapping[str, float] | None
    """Changes of colour and sharpness, by name; None in a view that has none."""
    start_seconds: float
    end_seconds: float
    """Of the last sample, which is included."""
    frame_seconds: tuple[float, ...]
    """Sample times, from the first frame of the file."""
    frame_size: int
    """Pixels of the square frames."""
    frames_of: str
    """Whose frames these are: the backbone's, or what was asked for."""
    backbone: str | None
    status: VideoStatus | None
    """Of the video under the backbone."""
    feature_valid: bool | None
    """Whether the store holds a feature of this clip."""
    error: str
    """Why the video could not be had in full."""
    output: Path
    output_format: str

    @property
    def feature(self) -> str:
        """Status and validity in words."""
        if self.status is None or self.status == VideoStatus.PENDING:
            return "not extracted yet"
        words = f"{'valid' if self.feature_valid else 'not valid'}, the video is {self.status.name.lower()}"
        return f"{words}: {self.error}" if self.error else words


def export_clip(query: ClipQuery) -> ShownClip:
    """Look a clip up and write its frames.

    Raises:
        StoreError: there is no such store, view or backbone.
        ValueError: no such video or clip, a file that is gone or cannot be decoded, an output of another format.
    """
    if query.output is not None and query.output.suffix.lower() not in FORMATS:
        raise ValueError(f"--output must end in {' or '.join(FORMATS)}, got {query.output.name!r}")
    store, row = _find(query)
    if query.view not in store.views():
        raise MissingArrayError(
            f"store {store.location.url!r} has no view {query.view!r}; it has: {', '.join(store.views())}"
        )
    plan = store.plan_arrays(query.view)
    planned = np.asarray(plan["valid"][row])
    video_id = str(store.column("id", slice(row, row + 1))[0])
    num_planned = int(planned.sum())
    if query.clip >= num_planned:
        has = f"has the clips 0 to {num_planned - 1}" if num_planned else f"has none{_why_none(store, row)}"
        raise ValueError(f"there is no clip {query.clip} of {video_id!r} in view {query.view!r}: the video {has}")
    coordinates = np.asarray(plan["coordinates"][row])[query.clip : query.clip + 1]
    backbone = _backbone(store, query)
    num_frames, frame_size, whose = _frames(store, query, backbone)
    status, valid, error = _outcome(store, query.view, backbone, row, query.clip)
    times = sample_times(coordinates, num_frames=num_frames)[0]
    augmentation = _augmentation(plan, row, query.clip)
    one_row = slice(row, row + 1)
    path, part = str(store.column("path", one_row)[0]), store.parts(one_row)
    order = row_order(
        store,
        row,
        view=query.view,
        clips=np.array([query.clip]),
        num_frames=num_frames,
        frame_size=frame_size,
        root=resolve_data_root(store, query.data_root),
    )
    output = query.output or Path(f"{PurePosixPath(path).stem}{part.suffix(0)}-{query.view}-{query.clip}.png")
    write_clip(output.expanduser(), _decode(order, query.limits), seconds=times.tolist())
    box = coordinates[0, [Coordinate.TOP, Coordinate.LEFT, Coordinate.BOTTOM, Coordinate.RIGHT]].tolist()
    return ShownClip(
        store=store.location.url,
        id=video_id,
        path=path,
        row=row,
        view=query.view,
        clip=query.clip,
        num_clips=num_planned,
        flip=bool(coordinates[0, Coordinate.FLIP]),
        box=(box[0], box[1], box[2], box[3]),
        augmentation=None
        if augmentation is None
        else dict(zip(AUGMENTATION_NAMES, augmentation[0].tolist(), strict=True)),
        start_seconds=float(coordinates[0, Coordinate.START]),
        end_seconds=float(coordinates[0, Coordinate.END]),
        frame_seconds=tuple(times.tolist()),
        frame_size=frame_size,
        frames_of=whose,
        backbone=backbone,
        status=status,
        feature_valid=valid,
        error=error,
        output=output,
        output_format=FORMATS[output.suffix.lower()],
    )


def _find(query: ClipQuery) -> tuple[FeatureStore, int]:
    """The store, of those named, that holds the video, and its row there."""
    stores = [FeatureStore.open(url) for url in store_urls(query.store)]
    found = find_in_stores(stores, query.video, data_root=query.data_root)
    if found is not None:
        return found
    close = close_matches([video_id for store in stores for video_id in store.ids], query.video)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    rows = f"rows are 0 to {sum(store.num_videos for store in stores) - 1}"
    raise ValueError(f"no video {query.video!r} in store {query.store!r} ({rows}){hint}")


def _augmentation(plan: Mapping[str, StoredArray], row: int, clip: int) -> NDArray[np.float32] | None:
    """How a clip's pixels are changed, shape (1, A); None where they are not."""
    return np.asarray(plan[AUGMENTATION_ARRAY][row])[clip : clip + 1] if AUGMENTATION_ARRAY in plan else None


def _why_none(store: FeatureStore, row: int) -> str:
    probe = store.probes(slice(row, row + 1))[0]
    return "" if probe.status == VideoStatus.OK else f" ({probe.status.name.lower()}: {probe.error})"


def _backbone(store: FeatureStore, query: ClipQuery) -> str | None:
    there = store.backbones(query.view)
    if query.backbone is None and not there:
        return None
    if query.backbone is None and len(there) > 1 and query.num_frames is not None and query.frame_size is not None:
        return None  # nothing of a backbone is needed
    return choose_backbone(store, view=query.view, wanted=query.backbone)


def _frames(store: FeatureStore, query: ClipQuery, backbone: str | None) -> tuple[int, int, str]:
    """Frames, pixels a side, and whose these are."""
    if backbone is not None:
        attributes = store.backbone_attributes(query.view, backbone)
        own = int(attributes["num_frames"]), int(attributes["frame_size"])
        whose = f"as {backbone} sees them"
    else:
        own = DEFAULT_NUM_FRAMES, int(store.plan_parameters(query.view)["nominal_size"])
        whose = "the view's own"
    asked = query.num_frames or own[0], query.frame_size or own[1]
    return *asked, whose if asked == own else "as asked for"


def _outcome(
    store: FeatureStore, view: str, backbone: str | None, row: int, clip: int
) -> tuple[VideoStatus | None, bool | None, str]:
    if backbone is None:
        return None, None, ""
    index = row // store.block_size
    if not store.committed(view, backbone, np.array([index]))[0]:
        return VideoStatus.PENDING, False, ""
    block = store.read_block(view, backbone, index)
    place = row - store.block_rows(index).start
    return VideoStatus(block.status[place]), bool(block.valid[place, clip]), block.error[place]


def _decode(order: VideoOrder, limits: DecodeLimits) -> NDArray[np.uint8]:
    """The frames of the first clip, shape (T, S, S, 3)."""
    with closing(ClipDecoders(limits)) as decoders:
        clips = next(decoders.decode([order])).clips[0]
        if not clips.valid[0]:
            raise ValueError(f"{str(order.path)!r} cannot be shown: {clips.status.name.lower()}, {clips.error}")
        frames: NDArray[np.uint8] = clips.frames[0].copy()  # the decoders' memory ends with them
        return frames
