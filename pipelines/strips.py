"""Pictures of what a search found: the query's clip above the clip that matches it, frame by frame."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits, VideoOrder
from scale_video.pipelines.clip_files import encode_png
from scale_video.pipelines.console import note
from scale_video.pipelines.feature_recipe import FeatureRecipe
from scale_video.pipelines.find_video import resolve_data_root
from scale_video.pipelines.row_clips import row_order
from scale_video.store.read import FeatureStore
from scale_video.store.union import ReadableStore, member_row


@dataclass(frozen=True, slots=True)
class StripOrder:
    """A picture that is wanted."""

    rank: int
    path: str
    """Of the video that was found, for the picture's name and for messages."""
    row: int
    """Of that video."""
    clip: int
    query_clip: int


def write_strips(
    folder: Path,
    orders: Sequence[StripOrder],
    *,
    store: ReadableStore,
    recipe: FeatureRecipe,
    query: int | VideoOrder | None,
    data_root: Path | None,
    limits: DecodeLimits,
) -> list[Path | None]:
    """Write a png for each pair of clips: ``<rank>-<video>.png``.

    A file that is not on this machine, or cannot be decoded any more, leaves a note and no picture. Pictures of
    other searches stay in the folder, and are counted in a note.

    Args:
        folder: Where they go; made if absent.
        orders: The pairs.
        store: Whose videos were searched.
        recipe: Of the features that were searched by: the frames are those that the backbone saw.
        query: Its row in the store, or what decodes its file.
        data_root: Folder of the store's videos; None: the usual one of each data set.
        limits: Of the decoders.

    Returns:
        The pictures' paths.
    """
    try:
        recipe.check_complete()
        members = (store,) if isinstance(store, FeatureStore) else store.stores
        roots = {one.url: resolve_data_root(one, data_root) for one in members}
    except ValueError as error:
        note(f"no strips: {error}")
        return [None] * len(orders)

    def order_of(row: int, clip: int) -> VideoOrder:
        one, own_row = member_row(store, row)
        return row_order(
            one,
            own_row,
            view=recipe.view,
            clips=np.array([clip]),
            num_frames=recipe.num_frames,
            frame_size=recipe.frame_size,
            root=roots[one.url],
        )

    folder = folder.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [
        (order_of(query, order.query_clip) if isinstance(query, int) else _of_file(query, order.query_clip),
         order_of(order.row, order.clip))
        for order in orders
    ]  # fmt: skip
    written: list[Path | None] = []
    with closing(ClipDecoders(limits)) as decoders:
        frames = _frames(decoders, [one for pair in pairs for one in pair])
        for order in orders:
            above, below = next(frames), next(frames)
            path = folder / f"{order.rank:02d}-{PurePosixPath(order.path).stem}.png"
            if above is not None and below is not None:
                path.write_bytes(encode_png(np.concatenate([above, below])))
            written.append(path if above is not None and below is not None else None)
    if others := set(folder.glob("*.png")).difference(written):
        note(f"{len(others)} other pictures in {folder} are not of this search")
    return written


def _of_file(order: VideoOrder | None, clip: int) -> VideoOrder:
    """An order for one of the clips of another order."""
    assert order is not None
    (request,) = order.requests
    one = slice(clip, clip + 1)
    augmentation = None if request.augmentation is None else request.augmentation[one]
    wanted = replace(request, coordinates=request.coordinates[one], valid=request.valid[one], augmentation=augmentation)
    return replace(order, requests=(wanted,))


def _frames(decoders: ClipDecoders, orders: Sequence[VideoOrder]) -> Iterator[NDArray[np.uint8] | None]:
    """The frames of each order's clip side by side, shape (S, T * S, 3); None, and a note, where they cannot be had."""
    said: set[Path] = set()
    for order, decoded in zip(orders, decoders.decode(orders), strict=True):
        (clips,) = decoded.clips
        if clips.valid[0]:
            yield np.concatenate(list(clips.frames[0]), axis=1)
            continue
        if order.path not in said:
            note(f"no strip of '{order.path}': {clips.status.name.lower()}, {clips.error}")
            said.add(order.path)
        yield None
