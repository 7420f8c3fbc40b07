"""Looking at videos on workers that die."""

from collections.abc import Generator, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest
from distributed import KilledWorker

from scale_video.extract import probing
from scale_video.extract.bounded_map import bounded_map
from scale_video.store.video_probe import VideoProbe, VideoStatus

PATHS = tuple(f"{number}.mp4" for number in range(70))  # three tasks


def found(path: str) -> VideoProbe:
    return VideoProbe(VideoStatus.CORRUPT, error=path)


def map_with_deaths(deaths: dict[str, int], _: object, function: Any, items: Iterable[Any]) -> Generator[Any]:
    """``bounded_map`` where the task that begins with a path is lost so often."""
    for item in items:
        outcome: Future[Any] = Future()
        first = item[1][0]
        if deaths.get(first, 0) > 0:
            deaths[first] -= 1
            outcome.set_exception(KilledWorker(first, None, 1))
        else:
            outcome.set_result([found(path) for path in item[1]])
        yield item, outcome


def probe(monkeypatch: pytest.MonkeyPatch, deaths: dict[str, int], **given: Any) -> tuple[VideoProbe, ...]:
    monkeypatch.setattr(probing, bounded_map.__name__, partial(map_with_deaths, deaths))
    return probing.probe_videos(None, "/videos", PATHS, **given)  # type: ignore[arg-type]


def test_a_task_whose_workers_died_is_done_once_more_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    probes = probe(monkeypatch, {"32.mp4": 1}, progress=seen.append)
    assert probes == tuple(found(path) for path in PATHS)
    assert seen == [32, 38, 70]


def test_a_task_whose_workers_die_again_ends_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConnectionError, match=r"workers die again and again while they look at '32\.mp4'.*run the same"
    ):
        probe(monkeypatch, {"32.mp4": 2})
