"""Section 3: maps of test videos, and what is nearest to some of them, before and after."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.embedding_map import MIN_POINTS, embedding_map
from scale_video.pipelines.report.draw_map import draw_map
from scale_video.pipelines.report.sampled_vectors import ComparedVectors, SampledVectors, SampledVideos
from scale_video.pipelines.report.section import (
    Block,
    FigureBlock,
    Missing,
    NotThereError,
    Outline,
    Paragraph,
    Part,
    Strip,
    StripGallery,
    StripRow,
)
from scale_video.pipelines.report.sources import ReportSources
from scale_video.pipelines.report.video_strips import StripOrder, Strips, make_strips

NUM_NEIGHBOURS: Final = 5
_LONG, _BRIEF = 6, 4
"""Frames of a strip that is looked at by itself, and of one among others."""


def _maps(sources: ReportSources) -> Iterator[Block]:
    vectors = sources.vectors
    tested = vectors.tested
    if len(tested.rows) < MIN_POINTS:
        raise NotThereError(f"A map needs at least {MIN_POINTS} test videos with features, and has {len(tested.rows)}.")
    strips = _strips(sources, [StripOrder(int(row), tested.view, _LONG) for row in tested.rows])
    classes = _class_names(sources, tested.labels)
    present = np.unique([name for name in classes if name])
    yield FigureBlock(
        draw_map(
            [(side.title, embedding_map(side.tested)) for side in vectors.sides],
            names=[sources.store.ids[row] for row in tested.rows],
            classes=classes,
            strips=strips.images,
        ),
        f"t-SNE of {_described(vectors, tested, 'test videos')}, centred and scaled to length 1 as for k-NN"
        + (f", coloured by their {len(present)} classes. " if len(present) else ". ")
        + "Neighbourhoods mean something here; distances between clusters, their sizes and the axes do not. Point at a "
        "video to see frames of its clips; select some by box or lasso, and they are selected in both panels.",
        "Maps of the same test videos by raw and by aggregated features.",
    )
    yield from _gaps(vectors, strips, sources)


def _nearest(sources: ReportSources) -> Iterator[Block]:
    vectors = sources.vectors
    queries = _queries(vectors, sources.request.num_queries)
    found = [_neighbours(vectors, side, queries) for side in vectors.sides]
    orders = [StripOrder(int(vectors.tested.rows[query]), vectors.tested.view, _LONG) for query in queries]
    orders += [
        StripOrder(int(row), vectors.searched.view, _BRIEF)
        for _, places in found
        for row in vectors.searched.rows[places].ravel()
    ]
    strips = _strips(sources, orders)
    images = iter(strips.images)
    asked = [_strip(sources, vectors.tested, int(query), next(images), None) for query in queries]
    answers = [
        [
            tuple(
                _strip(
                    sources,
                    vectors.searched,
                    int(place),
                    next(images),
                    int(vectors.tested.labels[query]),
                    float(cosine),
                )
                for place, cosine in zip(row, of_row, strict=True)
            )
            for query, row, of_row in zip(queries, places, cosines, strict=True)
        ]
        for cosines, places in found
    ]
    titles = [side.title for side in vectors.sides]
    yield StripGallery(
        tuple(
            StripRow(query, tuple(zip(titles, of_query, strict=True)))
            for query, of_query in zip(asked, zip(*answers, strict=True), strict=True)
        ),
        f"{len(queries)} {'test ' if vectors.is_split else ''}videos, drawn by seed 0, and the "
        f"{found[0][1].shape[1]} most similar of {_described(vectors, vectors.searched, 'training videos')}, the "
        "nearest first, with the cosine; frames are of stored clips, cut and mirrored as these are.",
    )
    yield (
        Paragraph(_score(titles, answers))
        if (vectors.tested.labels[queries] >= 0).any()
        else Paragraph("Videos have no classes here, so there are no hits and misses.")
    )
    yield from _gaps(vectors, strips, sources)


def _queries(vectors: SampledVectors, number: int) -> NDArray[np.int64]:
    """Places of test videos, drawn without replacement; of those with a class, where there are any."""
    labelled = np.flatnonzero(vectors.tested.labels >= 0)
    places = labelled if len(labelled) else np.arange(len(vectors.tested.rows))
    return np.sort(np.random.default_rng(0).choice(places, size=min(number, len(places)), replace=False))


def _neighbours(
    vectors: SampledVectors, side: ComparedVectors, queries: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cosines and places of the nearest videos; a video is not its own neighbour."""
    num_searched = len(vectors.searched.rows)
    wanted = min(NUM_NEIGHBOURS, num_searched - (not vectors.is_split))
    if wanted < 1:
        raise NotThereError("There is no other video to be found.")
    cosines, places = side.nearest(queries, min(wanted + 1, num_searched))
    own = vectors.searched.rows[places] == vectors.tested.rows[queries][:, None]
    kept = np.argsort(own, axis=1, kind="stable")[:, :wanted]  # its own row last
    return np.take_along_axis(cosines, kept, axis=1), np.take_along_axis(places, kept, axis=1)


def _strip(
    sources: ReportSources,
    videos: SampledVideos,
    place: int,
    image: str,
    wanted: int | None,
    cosine: float | None = None,
) -> Strip:
    """A video; with a class that is wanted (-1: none), whether it is of it."""
    label = int(videos.labels[place])
    name = sources.store.ids[videos.rows[place]]
    (spoken,) = _class_names(sources, videos.labels[[place]])
    text = f"{spoken or name} {cosine:.2f}" if cosine is not None else f"{spoken}: {name}" if spoken else name
    return Strip(image, name, text, None if wanted is None or wanted < 0 else label == wanted)


def _score(titles: Sequence[str], answers: Sequence[Sequence[tuple[Strip, ...]]]) -> str:
    parts = []
    for title, of_side in zip(titles, answers, strict=True):
        hits = [one.hit for of_query in of_side for one in of_query if one.hit is not None]
        parts.append(f"{sum(hits)} of {len(hits)} by {title}")
    return f"Videos of the query's class: {', '.join(parts)}."


def _class_names(sources: ReportSources, labels: NDArray[np.integer]) -> list[str]:
    """By number; empty where a video has no class."""
    if not (labels >= 0).any():
        return [""] * len(labels)
    names = sources.target.class_names
    return [names[label] if label >= 0 else "" for label in labels.tolist()]


def _described(vectors: SampledVectors, videos: SampledVideos, what: str) -> str:
    drawn = len(videos.rows) < videos.num_there
    what = what if vectors.is_split else "videos"
    return f"{videos.described} {what}{', drawn by seed 0 among those with features' if drawn else ''}"


def _strips(sources: ReportSources, orders: Sequence[StripOrder]) -> Strips:
    request = sources.request
    return make_strips(orders, store=sources.store, data_root=request.data_root, limits=request.limits)


def _gaps(vectors: SampledVectors, strips: Strips, sources: ReportSources) -> Iterator[Block]:
    """What is not shown."""
    if vectors.missing is not None:
        yield vectors.missing
    if strips.why_not:
        yield Missing(f"Frames of videos: {strips.why_not}.", f"{sources.command('report')} --data …")


WHAT_IT_LEARNED: Final = Outline(
    "What it learned",
    "what-it-learned",
    (Part("Maps of the test videos", _maps), Part("Nearest videos, before and after", _nearest)),
)
