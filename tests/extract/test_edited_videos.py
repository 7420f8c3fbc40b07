import dataclasses
import json
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from scale_video.extract.datasets.demo import list_demo
from scale_video.extract.datasets.edit_script import VARIANTS, VideoSpec, draw_video
from scale_video.extract.datasets.edited_videos import (
    DemoParameters,
    missing_videos,
    read_manifest,
    render_demo,
    render_frames,
    render_video,
    video_specs,
)
from scale_video.extract.datasets.h264_encoding import encode_mp4
from scale_video.extract.datasets.render_shots import FRAME_SIZE, FRAMES_PER_SECOND, Motion, Shot
from scale_video.store.video_table import VideoTable

PARAMETERS = DemoParameters(variant="demo", num_train=13, num_test=12, seed=3)


@pytest.fixture(scope="module")
def rendering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rendering") / "demo"
    render_demo(root, PARAMETERS, num_workers=1)
    return root


def file_bytes(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def motion_of(shot: Shot) -> Motion:
    if shot.zoom:
        return Motion.GROW if shot.zoom > 0 else Motion.SHRINK
    x, y = shot.velocity
    if abs(x) > abs(y):
        return Motion.RIGHT if x > 0 else Motion.LEFT
    return Motion.DOWN if y > 0 else Motion.UP


@pytest.mark.parametrize("variant", VARIANTS)
def test_shots_show_the_motions_of_the_class(variant: str) -> None:
    orders: dict[str, set[tuple[Motion, Motion]]] = {}
    for index in range(4 * len(VARIANTS[variant])):
        spec = VideoSpec(variant=variant, seed=0, split="train", index=index)
        class_name = spec.relative_path.split("/")[1]
        shown = [motion_of(shot) for shot in draw_video(spec)]
        before, after = shown[0], shown[-1]
        num_before = shown.count(before)
        assert 2 <= num_before <= 3
        assert shown == [before] * num_before + [after] * (len(shown) - num_before)
        assert set(class_name.replace("-and-", "-").split("-")) == {before, after}
        assert "-and-" in class_name or class_name == f"{before}-{after}"
        orders.setdefault(class_name, set()).add((before, after))
    assert {len(pairs) for pairs in orders.values()} == {2 if variant == "demo-control" else 1}
    assert len(orders) == {"demo": 12, "demo-hard": 12, "demo-control": 6}[variant]


def test_a_video_is_cut_as_described() -> None:
    for index in range(60):
        shots = draw_video(VideoSpec(variant="demo", seed=0, split="test", index=index))
        frames = [shot.num_frames for shot in shots]
        assert 4 <= len(shots) <= 6
        assert 64 <= sum(frames) <= 96
        before = sum(shot.num_frames for shot in shots if motion_of(shot) == motion_of(shots[0]))
        assert 0.37 <= before / sum(frames) <= 0.63
        assert len({(shot.background, shot.object, shot.gain, shot.noise_seed) for shot in shots}) == len(shots)


def test_decoded_frames_are_the_rendered_ones(rendering: Path) -> None:
    spec = video_specs(PARAMETERS)[0]
    frames = render_frames(spec)
    with av.open(str(rendering / spec.relative_path)) as container:
        stream = container.streams.video[0]
        decoded = list(container.decode(video=0))
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
    assert [frame.time for frame in decoded] == pytest.approx([i / FRAMES_PER_SECOND for i in range(len(frames))])
    pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    assert pictures.shape == frames.shape == (len(frames), FRAME_SIZE, FRAME_SIZE, 3)
    assert abs(pictures.astype(float) - frames).mean() < 8


def test_workers_do_not_change_the_bytes(rendering: Path, tmp_path: Path) -> None:
    render_demo(tmp_path, PARAMETERS, num_workers=2)
    assert file_bytes(tmp_path) == file_bytes(rendering)


def test_an_interrupted_rendering_is_completed(rendering: Path, tmp_path: Path) -> None:
    expected = file_bytes(rendering)
    render_demo(tmp_path, PARAMETERS, num_workers=1)
    lost = [spec.relative_path for spec in video_specs(PARAMETERS)[3:5]]
    for name in lost:
        (tmp_path / name).rename((tmp_path / name).with_suffix(".partial"))
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in expected if name not in lost}
    assert [spec.relative_path for spec in missing_videos(tmp_path, PARAMETERS)] == lost
    calls: list[tuple[int, int]] = []
    render_demo(tmp_path, PARAMETERS, num_workers=1, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(24, 25), (25, 25)]
    assert file_bytes(tmp_path) == expected
    assert before == {name: (tmp_path / name).stat().st_mtime_ns for name in before}


def test_a_complete_rendering_is_left_alone(rendering: Path) -> None:
    calls: list[tuple[int, int]] = []
    render_demo(rendering, PARAMETERS, num_workers=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == []


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"split": "test"}, {"index": 12}, {"variant": "demo-control"}], ids=lambda c: next(iter(c))
)
def test_another_video_has_other_pixels(change: dict[str, object]) -> None:
    spec = VideoSpec(variant="demo", seed=3, split="train", index=0)
    ours, other = render_frames(spec)[0], render_frames(dataclasses.replace(spec, **change))[0]  # type: ignore[arg-type]
    assert abs(ours.astype(float) - other).mean() > 10


def test_list_demo(rendering: Path) -> None:
    table = list_demo(rendering)
    assert isinstance(table, VideoTable)
    assert table.ids == table.paths == table.groups
    assert all((rendering / path).is_file() for path in table.paths)
    assert len(table.in_split("1", "train")) == 13
    assert len(table.in_split("1", "test")) == 12
    names = table.class_names["label"]
    assert names == tuple(VARIANTS["demo"])
    for video_id, label in zip(table.ids, table.labels["label"], strict=True):
        assert video_id.split("/")[1] == names[label]
    sizes = Counter(table.labels["label"][table.in_split("1", "train")].tolist())
    assert sorted(sizes.values()) == [1] * 11 + [2]


def test_a_video_is_written_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = video_specs(PARAMETERS)[0]

    def fail(*_: object, **__: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("scale_video.extract.datasets.edited_videos.encode_mp4", fail)
    with pytest.raises(KeyboardInterrupt):
        render_video(spec, tmp_path / "video.mp4")
    assert not (tmp_path / "video.mp4").exists()


def test_encoding_is_deterministic() -> None:
    frames = np.random.default_rng(0).integers(256, size=(5, 32, 48, 3), dtype=np.uint8)
    assert encode_mp4(frames, frames_per_second=16) == encode_mp4(frames, frames_per_second=16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "demos"}, r"variant 'demos' is none of demo, demo-hard, demo-control"),
        ({"num_train": 11}, r"num_train \(11\) is below the 12 classes of 'demo'"),
        ({"num_test": 0}, r"num_test \(0\) is below the 12 classes of 'demo'"),
        ({"seed": -1}, r"seed \(-1\) must be 0 or more"),
    ],
)
def test_bad_parameters_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PARAMETERS, **change)  # type: ignore[arg-type]


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"num_workers \(0\) must be 1 or more"):
        render_demo(tmp_path, PARAMETERS, num_workers=0)


def test_another_rendering_in_the_folder_is_refused(rendering: Path) -> None:
    other = dataclasses.replace(PARAMETERS, seed=4)
    with pytest.raises(ValueError, match=r"holds a rendering of .*seed=3.*, not of .*seed=4.*; delete the folder"):
        render_demo(rendering, other, num_workers=1)


def test_foreign_files_in_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").touch()
    with pytest.raises(ValueError, match=r"holds files but no demo.json; choose an empty folder"):
        render_demo(tmp_path, PARAMETERS, num_workers=1)


def test_a_folder_without_a_rendering_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no rendered data set \(demo.json is absent\); render it first"):
        list_demo(tmp_path)


def test_an_unfinished_rendering_is_refused(tmp_path: Path) -> None:
    manifest = {"parameters": dataclasses.asdict(PARAMETERS), "renderer_version": 1}
    (tmp_path / "demo.json").write_text(json.dumps(manifest))
    with pytest.raises(
        ValueError, match=r"25 of 25 videos are missing in .*'train/up-down/00000.mp4'; render .* again"
    ):
        list_demo(tmp_path)


def test_a_rendering_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text(json.dumps({"parameters": {}, "renderer_version": 0}))
    with pytest.raises(
        ValueError, match=r"rendered by version 0 of the renderer, this is version 1; delete the folder"
    ):
        read_manifest(tmp_path)
