"""The part of a video's page that shows its neighbours, or says what they wait for."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from scale_video.pipelines.explorer.catalogue import Catalogue
from scale_video.pipelines.explorer.feature_set import FeatureSet
from scale_video.pipelines.explorer.url_state import VideoState
from scale_video.pipelines.explorer.video_page import MAX_TOP, Card, NeighbourSection, query
from scale_video.store.errors import StoreError

if TYPE_CHECKING:
    from scale_video.pipelines.explorer.neighbours import Found, Neighbour, Neighbourhoods, VectorIndex

SAME: Final = "same"
OTHER: Final = "other"
CLASS: Final = "class:"
CLIP_CHOICES: Final = ("x", "h")
"""What clips are compared by: raw features, or refined ones."""


def neighbour_section(
    finder: "Neighbourhoods",
    catalogue: Catalogue,
    row: int,
    state: VideoState,
    features: FeatureSet,
    *,
    why_no_picture: Callable[[int], str],
) -> NeighbourSection:
    """Find neighbours as a state asks for them.

    Args:
        finder: What finds them.
        catalogue: Of the store.
        row: Of the video.
        state: What is asked for.
        features: Whose vectors are compared.
        why_no_picture: Why a row has no pictures; empty where it has.

    Raises:
        ValueError: the state asks for what there is not.
    """
    if state.of not in ("video", "clip"):
        raise ValueError(f"neighbours are of a video or of a clip, got of={state.of[:40]!r}")
    of_clip = state.of == "clip" and state.clip >= 0
    among = _among(catalogue, row, state)
    if features.backbone is None:
        return NeighbourSection(problem="there are no features yet; `scale-video extract` makes them")
    try:
        index = finder.index(features)
    except (StoreError, ValueError) as error:
        return NeighbourSection(problem=str(error))
    choices = index.choices if not of_clip else tuple(name for name in CLIP_CHOICES if name in index.choices)
    by = state.by if state.by in choices else choices[0]
    shown = NeighbourSection(choices=choices, by=by, of="clip" if of_clip else "video", hint=index.why_not_learned)
    if waiting := finder.prepare(index, by):
        return replace(shown, waiting=tuple(waiting), problem=next((task.error for task in waiting if task.error), ""))
    top = min(max(state.top, 1), MAX_TOP)
    if of_clip:
        found = finder.of_clip(index, row, state.clip, by=by, among=among, top=top, everywhere=state.everywhere == 1)
    else:
        found = finder.of_video(index, row, by=by, among=among, top=top)
    if found is None:
        what = "clip" if of_clip else "video"
        return replace(shown, problem=f"this {what} has no feature in {features.name}, so nothing is near it")
    cards = tuple(_card(catalogue, row, state, one, why_no_picture) for one in found.neighbours)
    section = replace(shown, cards=cards, summary=_summary(found, cards))
    if found.of_all:
        return section
    return replace(
        section,
        everywhere_href=f"/video/{row}{state.query(everywhere=1)}",
        everywhere_text=_cost_of_all(index, by),
    )


def _among(catalogue: Catalogue, row: int, state: VideoState) -> NDArray[np.bool_]:
    """Which videos may be found.

    Raises:
        ValueError: a class that there is not.
    """
    label = catalogue.label_column(state.label)
    if not state.among:
        return np.ones(catalogue.num_videos, np.bool_)
    if state.among in (SAME, OTHER):
        shares = catalogue.shares_class(row, label)
        return shares if state.among == SAME else ~shares
    if state.among.startswith(CLASS):
        return catalogue.has_class(label, state.among.removeprefix(CLASS))
    raise ValueError(f"neighbours are among {SAME}, {OTHER} or {CLASS}NAME, got {state.among[:80]!r}")


def _card(
    catalogue: Catalogue, row: int, state: VideoState, found: "Neighbour", why_no_picture: Callable[[int], str]
) -> Card:
    label = catalogue.label_column(state.label)
    classes, why_none = catalogue.classes(found.row, label), why_no_picture(found.row)
    if found.clip is None:
        target, picture = VideoState(**state.others("clip", "everywhere")), f"/video/{found.row}/thumbnail.png"
    else:
        target = VideoState(**{**state.others("everywhere"), "clip": found.clip})
        picture = f"/video/{found.row}/clip/{found.clip}.png{query(features=state.features)}"
    return Card(
        name=catalogue.names[found.row],
        href=f"/video/{found.row}{target.query()}",
        classes=classes,
        same_class=bool(set(classes) & set(catalogue.classes(row, label))),
        score=found.score,
        clip=found.clip,
        picture="" if why_none else picture,
        why_none=why_none,
    )


def _summary(found: "Found", cards: tuple[Card, ...]) -> str:
    if not cards:
        return "none; no other video with features is among those that were asked for"
    same = sum(card.same_class for card in cards)
    classes = f"{same} of {len(cards)} share a class with it; " if any(card.classes for card in cards) else ""
    what = (
        f"all {found.num_compared:,} videos"
        if found.of_all
        else f"all clips of the {found.num_compared} videos whose mean is most like it"
    )
    return f"{classes}{what} compared in {1000 * found.seconds:.0f} ms"


def _cost_of_all(index: "VectorIndex", by: str) -> str:
    """What a look at all clips costs."""
    seconds = index.seconds_to_read.get(by)
    known = "" if seconds is None else f", about {seconds:.0f} s"
    return f"compare all clips (reads {index.feature_bytes / 1e9:.1f} GB{known})"
