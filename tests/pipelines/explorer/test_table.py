"""The table of videos: filters, orders, pages and counts, compared with plain loops; what an address says."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from scale_video.pipelines.explorer.background import Background
from scale_video.pipelines.explorer.catalogue import UNKNOWN, Catalogue, status_filter
from scale_video.pipelines.explorer.clip_times import (
    NUM_FRAMES,
    clock,
    even_times,
    frames_with_boxes,
    shown_times,
    time_line,
)
from scale_video.pipelines.explorer.feature_set import FeatureSet, feature_sets
from scale_video.pipelines.explorer.outcomes import Outcome, Outcomes
from scale_video.pipelines.explorer.table_page import TablePage, table_page
from scale_video.pipelines.explorer.url_state import TableState, VideoState
from scale_video.pipelines.explorer.way_back import WayBack, way_back
from scale_video.store.create import create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.read import FeatureStore
from scale_video.store.union import open_stores
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

CODES = {7: VideoStatus.CORRUPT, 9: VideoStatus.PARTIAL, 30: VideoStatus.PENDING}


@pytest.fixture(scope="module")
def catalogue(explored: Any) -> Catalogue:
    return Catalogue(open_stores(explored.store))


def outcome_of() -> Outcome:
    status = np.full(60, VideoStatus.OK, np.uint8)
    for row, code in CODES.items():
        status[row] = code
    return Outcome(status, {7: "reason"})


def page_of(catalogue: Catalogue, **state: Any) -> TablePage:
    return table_page(catalogue, TableState(**state), FeatureSet("random", "tiny"), outcome_of(), None)


def video_of(address: str) -> tuple[int, VideoState]:
    """The row and the state that an address of a video's page holds."""
    parts = urlsplit(address)
    return int(parts.path.removeprefix("/video/")), VideoState.parse(dict(parse_qsl(parts.query)))


def rows_of(catalogue: Catalogue, **state: Any) -> list[int]:
    """Rows of all pages."""
    found: list[int] = []
    for number in range(1, page_of(catalogue, **state).num_pages + 1):
        found += [row.row for row in page_of(catalogue, **state, page=number).rows]
    return found


CLASS_OF = ("run", "jump", "<i>fly</i>")


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        ({}, lambda row, name: True),
        ({"search": "FLY/1"}, lambda row, name: "fly/1" in name),
        ({"search": "nothing"}, lambda row, name: False),
        ({"class_name": "<i>fly</i>"}, lambda row, name: row % 3 == 2),
        ({"split": "1:test"}, lambda row, name: row >= 40),
        ({"status": "failed"}, lambda row, name: row in (7, 9)),
        ({"status": "partial"}, lambda row, name: row == 9),
        ({"status": "pending", "split": "1:train"}, lambda row, name: row == 30),
        ({"search": "run", "split": "1:test", "status": "ok"}, lambda row, name: row >= 40 and row % 3 == 0),
    ],
)  # fmt: skip
def test_filters_leave_what_they_say(
    catalogue: Catalogue, state: dict[str, str], wanted: Callable[[int, str], bool]
) -> None:
    kept = [row for row, name in enumerate(catalogue.names) if wanted(row, name)]
    assert rows_of(catalogue, **state) == kept
    page = page_of(catalogue, **state)
    assert (page.num_found, page.num_pages) == (len(kept), max(1, -(-len(kept) // 50)))


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("column", ["row", "path", "class", "split", "status", "duration"])
def test_every_column_sorts_and_equal_ones_stay_in_order(catalogue: Catalogue, column: str, falling: bool) -> None:
    key = {
        "row": lambda row: row,
        "path": lambda row: catalogue.names[row],
        "class": lambda row: CLASS_OF[row % 3],
        "split": lambda row: row >= 40,
        "status": lambda row: CODES.get(row, VideoStatus.OK),
        "duration": lambda row: 4 + (row % 7 if row >= 5 else 0),
    }[column]
    expected = sorted(range(60), key=key)
    if falling:  # equal ones are not turned round
        expected = sorted(range(60), key=lambda row: sorted({key(r) for r in range(60)}, reverse=True).index(key(row)))
    assert rows_of(catalogue, sort=f"-{column}" if falling else column) == expected


def test_a_page_counts_what_other_filters_leave(catalogue: Catalogue) -> None:
    page = page_of(catalogue, split="1:train", status="corrupt")
    assert dict(page.counts) == {"pending": 1, "ok": 37, "partial": 1, "corrupt": 1, "failed": 2}
    (row,) = page.rows
    assert (row.row, row.error, row.failed, row.split, row.classes) == (7, "reason", True, "train", ("jump",))
    assert row.href == "/video/7?table=split%3D1%253Atrain%26status%3Dcorrupt"
    assert page_of(catalogue, page=99).rows[0].row == 50  # the last page
    assert page_of(catalogue, page=-4).rows[0].row == 0


def test_statuses_that_are_not_read_yet_are_said_to_be(catalogue: Catalogue) -> None:
    outcome = Outcome(np.full(60, UNKNOWN, np.uint8))
    page = table_page(catalogue, TableState(), FeatureSet("random", "tiny"), outcome, None)
    assert {row.status for row in page.rows} == {"…"}
    assert page.counts == {}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"class_name": "swim"}, "no class 'swim'"),
        ({"split": "2:train"}, "no split '2:train'; there are: 1:train, 1:test"),
        ({"status": "fine"}, "no status 'fine'"),
        ({"sort": "colour"}, "no order by 'colour'"),
        ({"label": "label_2"}, "no column of labels 'label_2'"),
    ],
)
def test_what_there_is_not_is_refused(catalogue: Catalogue, state: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        page_of(catalogue, **state)
    assert status_filter("ok") == {1}


def test_an_address_holds_what_is_not_usual() -> None:
    state = TableState.parse({"search": " a&b ", "page": "3", "unknown": "x"})
    assert state == TableState(search="a&b", page=3)
    assert state.query() == "?search=a%26b&page=3"
    assert state.query(search="", page=1) == ""
    assert state.others("page") == {"search": "a&b"}
    with pytest.raises(ValueError, match="page must be a whole number, got '1e3'"):
        TableState.parse({"page": "1e3"})
    assert VideoState.parse({"clip": "-1"}).clip == -1


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"search": "run", "split": "1:test", "sort": "-duration"},
        {"class_name": "<i>fly</i>", "sort": "-path"},
        {"status": "failed", "sort": "-row"},
        {"sort": "-duration"},
    ],
)
def test_the_videos_before_and_after_are_those_of_the_table_that_led_there(
    catalogue: Catalogue, state: dict[str, str]
) -> None:
    expected, page = rows_of(catalogue, **state), page_of(catalogue, **state)
    walked, address = [], page.rows[0].href
    while address:
        row, here = video_of(address)
        found = way_back(catalogue, row, here, outcome_of)
        assert found.table == "/" + TableState(**state, page=len(walked) // 50 + 1).query()
        assert video_of(found.previous)[0] == walked[-1] if walked else found.previous == ""
        walked.append(row)
        address = found.next
    assert walked == expected


def test_a_neighbour_that_the_table_leaves_out_leads_back_all_the_same(catalogue: Catalogue) -> None:
    state = VideoState(table="class_name=jump&page=2", clip=3, of="clip")
    assert way_back(catalogue, 0, state, outcome_of) == WayBack("/?class_name=jump&page=2")
    _, beside = video_of(way_back(catalogue, 1, state, outcome_of).next)
    assert beside == VideoState(table="class_name=jump")  # no clip of another video


@pytest.mark.parametrize(
    "table",
    ["class_name=swim", "split=9:x", "status=fine", "sort=colour", "page=x", "//evil.example/", 'a"><b>', "%ff"],
)
def test_a_table_that_there_is_not_is_that_of_all_videos(catalogue: Catalogue, table: str) -> None:
    found = way_back(catalogue, 20, VideoState(label="label", table=table), outcome_of)
    assert found == WayBack("/?label=label", "/video/19?label=label", "/video/21?label=label")


def test_feature_sets_that_are_asked_for_come_first(explored: Any) -> None:
    store = open_stores(explored.store)
    assert [one.name for one in feature_sets(store, view=None, backbone=None)] == ["random/tiny"]
    with pytest.raises(ValueError, match="has no grid; it has: random/tiny"):
        feature_sets(store, view="grid", backbone=None)


def test_clips_of_a_lane_do_not_overlap_and_none_is_missing() -> None:
    rng = np.random.default_rng(0)
    coordinates = rng.random((40, 7), dtype=np.float32) * 20
    coordinates[:, 6] = coordinates[:, 5] + rng.random(40, dtype=np.float32) * 4
    planned = np.arange(40) % 5 != 0
    line = time_line(coordinates, planned, np.arange(40) % 2 == 0, begin=0, duration=22)
    assert sorted(bar.clip for bar in line.bars) == np.flatnonzero(planned).tolist()
    for lane in range(line.num_lanes):
        ends = sorted(bar.seconds for bar in line.bars if bar.lane == lane)
        assert ends
        assert all(one[1] < other[0] for one, other in pairwise(ends))
    length = max(22.0, float(coordinates[planned, 6].max()))
    for bar in line.bars:
        assert bar.left == pytest.approx(100 * coordinates[bar.clip, 5] / length, abs=1e-4)
        assert bar.has_feature is (bar.clip % 2 == 0)


def test_frames_are_shown_where_clips_are_and_the_chosen_one_is_among_them() -> None:
    rng = np.random.default_rng(1)
    coordinates = rng.random((16, 7), dtype=np.float32)
    coordinates[:, 5] = np.arange(16) * 3
    coordinates[:, 6] = coordinates[:, 5] + 2
    planned = np.ones(16, bool)
    for clip in (None, 4, 15):
        times = shown_times(coordinates, planned, begin=0, duration=60, clip=clip)
        assert len(times) == NUM_FRAMES
        assert (np.diff(times) > 0).all()
        frames = frames_with_boxes(times, coordinates, planned)
        assert all(len(frame.boxes) == 1 for frame in frames)
        shown = {box.clip for frame in frames for box in frame.boxes}
        assert clip is None or clip in shown
    box = frames[-1].boxes[0]
    top, left, bottom, right = coordinates[box.clip, 1:5]
    assert (box.top, box.left) == (pytest.approx(top), pytest.approx(left))
    assert (box.height, box.width) == (pytest.approx(bottom - top), pytest.approx(right - left))
    assert shown_times(coordinates, ~planned, begin=2, duration=12, clip=None).tolist() == [3, 5, 7, 9, 11, 13]
    assert even_times(begin=1, duration=4, num_frames=2).tolist() == [2, 4]
    assert [clock(4.256), clock(65.4), clock(7389)] == ["4.26 s", "1:05", "2:03:09"]


def test_a_store_is_read_from_any_file_system(store_maker: Callable[..., str]) -> None:
    store = open_stores(store_maker("memory://explorer/films.zarr"))
    assert Catalogue(store).names[4] == "jump/04.mp4"


def test_parts_of_files_and_several_labels(tmp_path: Path) -> None:
    ids = ("a.mp4#-4", "a.mp4#4-", "b.mp4")
    videos = VideoTable(
        ids=ids,
        paths=("a.mp4", "a.mp4", "b.mp4"),
        groups=("a", "a", "b"),
        label_sets={"labels": np.array([[1, 1], [0, 0], [-1, -1]], np.int8)},
        class_names={"labels": ("red", "blue")},
        splits={"1": np.array([1, 3, 0], np.uint8), "2": np.array([3, 3, 1], np.uint8)},
        start_seconds=np.array([np.nan, 4, np.nan]),
        end_seconds=np.array([4, np.nan, np.nan]),
    )
    probe = VideoProbe(VideoStatus.OK, duration_seconds=10, frames_per_second=5, num_frames=50, height=4, width=4)
    create_store(tmp_path / "s.zarr", videos=videos, probes=[probe] * 3, plans=[], attributes={"dataset": "d"},
                 block_size=2)  # fmt: skip
    store = open_stores(tmp_path / "s.zarr")
    found = Catalogue(store)
    assert found.names == list(ids)
    assert found.durations.tolist() == [4, 6, 10]
    assert [found.classes(row, "labels") for row in range(3)] == [("red", "blue"), (), ()]
    assert found.has_class("labels", "blue").tolist() == [True, False, False]
    assert [found.split_text(row) for row in range(3)] == ["1 train, 2 test", "1 test, 2 test", "2 train"]
    assert [one.name for one in feature_sets(store, view=None, backbone=None)] == ["plan"]


def test_a_class_of_another_column_is_dropped_when_the_column_is_changed(tmp_path: Path) -> None:
    videos = VideoTable(
        ids=("a.mp4", "b.mp4"), paths=("a.mp4", "b.mp4"), groups=("a", "b"),
        labels={"label": np.array([0, 1], np.int32), "label_colour": np.array([0, 0], np.int32)},
        class_names={"label": ("run", " jump"), "label_colour": ("red",)}, splits={},
    )  # fmt: skip
    probe = VideoProbe(VideoStatus.OK, duration_seconds=10, frames_per_second=5, num_frames=50, height=4, width=4)
    create_store(tmp_path / "s.zarr", videos=videos, probes=[probe] * 2, plans=[], attributes={"dataset": "d"})
    catalogue = Catalogue(open_stores(tmp_path / "s.zarr"))

    def page(**arguments: str) -> tuple[int, str]:
        outcome = Outcome(np.full(2, VideoStatus.OK, np.uint8))
        found = table_page(catalogue, TableState.parse(arguments), FeatureSet("random", "tiny"), outcome, None)
        return found.num_found, found.state.class_name

    assert page(class_name=" jump") == (1, " jump")  # with the blank that it begins with
    assert page(class_name=" jump", label="label") == (1, " jump")
    assert page(class_name=" jump", label="label_colour") == (2, "")
    assert page(search=" B.mp4 ") == (1, "")


def test_a_part_of_a_file_that_could_not_be_read_has_no_length(tmp_path: Path) -> None:
    videos = VideoTable(
        ids=("a.mp4#12-20",), paths=("a.mp4",), groups=("a",), labels={}, class_names={}, splits={},
        start_seconds=np.array([12.0]), end_seconds=np.array([20.0]),
    )  # fmt: skip
    probe = VideoProbe(VideoStatus.MISSING, error="no such file")
    create_store(tmp_path / "s.zarr", videos=videos, probes=[probe], plans=[], attributes={"dataset": "d"})
    assert Catalogue(open_stores(tmp_path / "s.zarr")).durations.tolist() == [0]


def test_a_reason_goes_when_a_video_that_failed_is_there_after_all(
    store_maker: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = store_maker(str(tmp_path / "s.zarr"), num_committed=2)
    store, background = FeatureStore.open(url), Background()
    outcomes, features = Outcomes(store, background), FeatureSet("random", "tiny")
    monkeypatch.setattr("scale_video.pipelines.explorer.outcomes._STALE_SECONDS", 0.0)

    def read() -> Outcome:
        found, task = outcomes.get(features)
        while task is not None and not task.finished:
            time.sleep(0.01)
        return found

    assert read().errors == {7: "<b>bad</b> & worse", 9: "ends after 2 clips"}
    block = store.read_block("random", "tiny", 0)
    valid, status = block.valid.copy(), block.status.copy()
    valid[7], status[7] = True, VideoStatus.OK
    BlockWriter(url, view="random", backbone="tiny").write(
        FeatureBlock(0, np.nan_to_num(block.features), valid, status, ("",) * len(status))
    )
    assert read().errors == {9: "ends after 2 clips"}
    background.close()
