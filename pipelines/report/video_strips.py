"""Videos as strips: frames of their stored clips in order of time, as pictures that a page carries within."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits, VideoOrder
from scale_video.pipelines.clip_files import encode_jpeg
from scale_video.pipelines.console import ticking
from scale_video.pipelines.find_video import resolve_data_root
from scale_video.pipelines.row_clips import row_order
from scale_video.store.clip_plan import Coordinate
from scale_video.store.read import FeatureStore
from scale_video.store.union import ReadableStore, member_row

SIDE: Final = 64
"""Pixels of a frame."""


@dataclass(frozen=True, slots=True)
class StripOrder:
    """A strip that is wanted."""

    row: int
    """Of the store."""
    view: str
    """Whose clips they are."""
    num_frames: int
    """At most; each is the middle frame of a clip."""


@dataclass(frozen=True, slots=True)
class Strips:
    """What could be had."""

    images: tuple[str, ...]
    """A ``data:`` URI for each order; empty where there is none."""
    why_not: str
    """Of what is missing, in a line; empty where nothing is."""


def make_strips(
    orders: Sequence[StripOrder], *, store: ReadableStore, data_root: Path | None, limits: DecodeLimits
) -> Strips:
    """Decode frames of videos; what cannot be had leaves a gap.

    Args:
        orders: The strips.
        store: Of the videos.
        data_root: Their folder; the usual place of the data set when None.
        limits: Of the decoders.

    Raises:
        StoreError: the plan cannot be read.
    """
    try:
        root = resolve_data_root(member_row(store, 0)[0], data_root)
    except ValueError as error:
        return Strips(("",) * len(orders), str(error))
    decoded = [_video_order(*member_row(store, order.row), order, root=root) for order in orders]
    there = [number for number, order in enumerate(decoded) if order is not None]
    images, reasons = [""] * len(orders), ["no clip is planned"] * (len(orders) - len(there))
    with closing(ClipDecoders(limits)) as decoders, ticking("frames of videos", len(there)) as ticker:
        strips = _strips(decoders, [order for order in decoded if order is not None])
        for done, (number, (image, reason)) in enumerate(zip(there, strips, strict=True), start=1):
            images[number] = image
            reasons += [reason] if reason else []
            ticker.update(done)
    why_not = f"{len(reasons)} of {len(orders)} strips could not be had, the first: {reasons[0]}" if reasons else ""
    return Strips(tuple(images), why_not)


def _video_order(store: FeatureStore, row: int, order: StripOrder, *, root: Path) -> VideoOrder | None:
    """The middle frame of some clips of a video, evenly chosen out of all in order of time; None without a clip."""
    plan = store.plan_arrays(order.view)
    planned = np.flatnonzero(np.asarray(plan["valid"][row]))
    if not len(planned):
        return None
    middles = np.asarray(plan["coordinates"][row])[planned][:, [Coordinate.START, Coordinate.END]].sum(axis=1)
    clips = planned[np.argsort(middles, kind="stable")][_evenly(len(planned), order.num_frames)]
    return row_order(store, row, view=order.view, clips=clips, num_frames=1, frame_size=SIDE, root=root)


def _evenly(num: int, at_most: int) -> NDArray[np.int64]:
    """So many of ``num`` places, or all; the ends are not among them where there are others between.

    # 16, 4 -> [2, 6, 10, 14]
    """
    num_chosen = min(num, at_most)
    return ((2 * np.arange(num_chosen) + 1) * num) // (2 * num_chosen)


def _strips(decoders: ClipDecoders, orders: Sequence[VideoOrder]) -> Iterator[tuple[str, str]]:
    """A picture of each, and why there is none."""
    for order, video in zip(orders, decoders.decode(orders), strict=True):
        (clips,) = video.clips
        frames = clips.frames[clips.valid, 0]  # (K, S, S, 3)
        if not len(frames):
            yield "", f"{order.path.name!r}: {clips.status.name.lower()}, {clips.error}"
            continue
        encoded = b64encode(encode_jpeg(np.concatenate(list(frames), axis=1))).decode("ascii")
        yield f"data:image/jpeg;base64,{encoded}", ""
