"""``scale-video show``: the file shows the frames that the coordinates name, and mistakes say what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

from scale_video.extract.probe import probe_video
from scale_video.pipelines.clip_files import write_clip
from scale_video.pipelines.find_video import close_matches
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

Cli = Callable[..., Result]
NUM_FRAMES, SIZE = 4, 48
NAMES = ("talk/ünï 1.mp4", "talk/second.mp4", "walk/third.mp4")
# flip, top, left, bottom, right, start, end: all of a frame; the same mirrored; a part of it.
CLIPS = np.array(
    [[0, 0, 0, 1, 1, 0.2, 1.0], [1, 0, 0, 1, 1, 0.55, 1.25], [0, 0.25, 0.5, 0.75, 0.75, 0, 0.5]], dtype=np.float32
)


@pytest.fixture(scope="module")
def painted(module_at: Callable[[str], ModuleType]) -> ModuleType:
    """The makers of painted videos beside the extraction's tests."""
    return module_at("extract/conftest.py")


def ramp(number: int) -> NDArray[np.uint8]:
    """Red says the column, green the row."""
    rows, columns = np.mgrid[:64, :96]
    return np.stack([columns * 255 / 95, rows * 255 / 63, np.full_like(rows, 128)], axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def videos(painted: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos whose frames show their numbers, and one that shows where a pixel lies."""
    root = tmp_path_factory.mktemp("videos")
    for name in NAMES:
        (root / name).parent.mkdir(exist_ok=True)
        painted.write_painted_video(root / name, draw=ramp if name == NAMES[2] else None)
    return root


@pytest.fixture(scope="module")
def store(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of each video; the backbone has lost the second clip of the second one."""
    url = tmp_path_factory.mktemp("store") / "painted.zarr"
    valid = np.ones((3, 3), np.bool_)
    valid[2, 2] = False
    coordinates = np.stack([CLIPS] * 3)
    coordinates[2, 0] = CLIPS[2]
    coordinates[2, 2] = np.nan
    create_store(
        url,
        videos=VideoTable(ids=NAMES, paths=NAMES, groups=NAMES),
        probes=[probe_video(videos / name) for name in NAMES],
        plans=[ClipPlan("random", {"nominal_size": 32}, coordinates, valid, np.ones(3, np.bool_))],
        block_size=2,
        attributes={"dataset": "folder"},
    )
    attributes = {"num_frames": NUM_FRAMES, "frame_size": SIZE}
    add_backbone(url, view="random", name="m", feature_dim=1, weights_digest="ab", attributes=attributes)
    had = np.array([[True, True, True], [True, False, True]])
    BlockWriter(url, view="random", backbone="m").write(
        FeatureBlock(
            index=0,
            features=np.where(had, 1, np.nan).astype(np.float16)[:, :, None],
            valid=had,
            status=np.array([1, 3], np.uint8),
            error=("", "1 of 3 clips cannot be decoded: it is so"),
        )
    )
    return url


def read_png(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        strip = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return np.stack(np.split(strip, strip.shape[1] // strip.shape[0], axis=1))


def read_number(frame: NDArray[np.uint8], painted: ModuleType) -> int:
    """The number that an upright frame shows."""
    middles = ((np.arange(painted.GRID) + 0.5) / painted.GRID * SIZE).astype(int)
    white = frame[middles][:, middles].mean(2).ravel() > 127
    assert [bool(white[cell]) for cell in sorted(painted.CORNERS)] == [True, False, False, False]
    return sum(int(white[cell]) << bit for bit, cell in enumerate(painted.BIT_CELLS))


def expected_numbers(clip: int) -> list[int]:
    start, end = CLIPS[clip, 5:].astype(float)
    times = [start + j * (end - start) / (NUM_FRAMES - 1) for j in range(NUM_FRAMES)]
    return [int((time + 1e-3) * 30) for time in times]


@pytest.mark.parametrize(("video", "clip"), [(NAMES[0], 0), (NAMES[1], 1)])
def test_png_shows_the_frames_that_the_coordinates_name(
    run_cli: Cli, painted: ModuleType, store: Path, videos: Path, video: str, clip: int
) -> None:
    shown = run_cli("show", store, "--video", video, "--clip", clip, "--data", videos, "--output", "out.png", "--json")
    frames = read_png(Path("out.png"))
    assert frames.shape == (NUM_FRAMES, SIZE, SIZE, 3)
    upright = frames[:, :, ::-1] if CLIPS[clip, 0] else frames
    assert [read_number(frame, painted) for frame in upright] == expected_numbers(clip)
    result = json.loads(shown.stdout)
    assert [int((seconds + 1e-3) * 30) for seconds in result["frame_seconds"]] == expected_numbers(clip)
    assert result["flip"] == bool(CLIPS[clip, 0])
    assert result["box"] == [0, 0, 1, 1]
    assert (result["id"], result["clip"], result["num_clips"]) == (video, clip, 3)
    assert result["feature_valid"] == (video == NAMES[0])
    assert result["status"] == ("ok" if video == NAMES[0] else "partial")


def test_png_shows_the_box(run_cli: Cli, store: Path, videos: Path) -> None:
    run_cli("show", store, "--video", NAMES[2], "--clip", 0, "--data", videos, "--output", "out.png")
    red, green, _ = read_png(Path("out.png")).mean(axis=0).transpose(2, 0, 1)
    # Rows 16 to 48 of 64, columns 48 to 72 of 96.
    np.testing.assert_allclose(red.mean(axis=0)[[0, -1]], [48 * 255 / 95, 71 * 255 / 95], atol=8)
    np.testing.assert_allclose(green.mean(axis=1)[[0, -1]], [16 * 255 / 63, 47 * 255 / 63], atol=8)


def test_mp4_is_the_same_but_for_a_few_levels(run_cli: Cli, store: Path, videos: Path) -> None:
    for name in ("out.png", "out.mp4"):
        run_cli("show", store, "--video", NAMES[2], "--clip", 0, "--data", videos, "--output", name)
    exact = read_png(Path("out.png"))
    with av.open("out.mp4") as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx((NUM_FRAMES - 1) / 0.5)
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    factor = frames.shape[1] // SIZE
    assert frames.shape == (NUM_FRAMES, factor * SIZE, factor * SIZE, 3)
    assert factor * SIZE >= 256
    assert np.abs(frames[:, ::factor, ::factor].astype(int) - exact).max() <= 6


@pytest.mark.parametrize("side", [20, 300])
def test_mp4_of_noise_keeps_every_pixel_apart(tmp_path: Path, side: int) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    write_clip(tmp_path / "noise.mp4", noise, seconds=[1.0, 1.1, 1.2])
    with av.open(str(tmp_path / "noise.mp4")) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    factor = frames.shape[1] // side
    assert np.abs(frames[:, ::factor, ::factor].astype(int) - noise).max() <= 8


@pytest.mark.parametrize(("seconds", "rate"), [([0.5], 1), ([0.5, 0.5, 0.5], 3), ([0, 0.25, 0.5], 4)])
def test_pace_of_an_mp4(tmp_path: Path, seconds: list[float], rate: float) -> None:
    write_clip(tmp_path / "a.mp4", np.zeros((len(seconds), 8, 8, 3), np.uint8), seconds=seconds)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].frames == len(seconds)
        assert float(container.streams.video[0].average_rate) == pytest.approx(rate)


def test_table_by_row_and_default_name(run_cli: Cli, store: Path, videos: Path) -> None:
    printed = run_cli("show", store, "--video", 1, "--clip", 1, "--data", videos).stdout
    assert "0.5500 – 1.2500" in printed
    assert "as m sees them" in printed
    assert "not valid, the video is partial: 1 of 3 clips cannot be decoded: it is so" in printed
    assert Path("second-random-1.png").is_file()
    pending = run_cli("show", store, "--video", videos / NAMES[2], "--clip", 0, "--data", videos).stdout
    assert "not extracted yet" in pending


def test_other_frames_than_the_backbones(run_cli: Cli, store: Path, videos: Path) -> None:
    options = ("--num-frames", 3, "--size", 20, "--output", "out.png")
    printed = run_cli("show", store, "--video", 0, "--clip", 0, "--data", videos, *options).stdout
    assert "3 of 20 × 20 pixels, as asked for" in printed
    assert read_png(Path("out.png")).shape == (3, 20, 20, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--video", "second", "--clip", 0), "did you mean 'talk/second.mp4'?"),
        (("--video", "wlak/thrid.mp4", "--clip", 0), "did you mean 'walk/third.mp4'"),
        (("--video", 3, "--clip", 0), "no video '3' in store"),
        (
            ("--video", 0, "--clip", 3),
            "there is no clip 3 of 'talk/ünï 1.mp4' in view 'random': the video has the clips",
        ),
        (("--video", 2, "--clip", 2), "has the clips 0 to 1"),
        (("--video", 0, "--clip", 0, "--view", "grid"), "has no view 'grid'; it has: random"),
        (("--video", 0, "--clip", 0, "--backbone", "n"), "has no features of 'n'; it has: m"),
        (("--video", 0, "--clip", 0, "--output", "out.gif"), "--output must end in .png or .mp4"),
        (("--video", 0, "--clip", 0, "--data", "nowhere"), "no such folder: 'nowhere'"),
        (("--video", 0, "--clip", 0, "--data", "."), "missing, cannot be read: No such file"),
    ],
)
def test_mistakes_are_one_line(
    run_cli: Cli, store: Path, videos: Path, arguments: tuple[object, ...], message: str
) -> None:
    data = () if "--data" in arguments else ("--data", videos)
    result = run_cli("show", store, *arguments, *data, status=1)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(Path().iterdir())


def test_the_folder_of_the_videos_must_be_named(run_cli: Cli, store: Path) -> None:
    result = run_cli("show", store, "--video", 0, "--clip", 0, status=1)
    assert "the videos of data set 'folder' have no usual place; name their folder by --data" in result.stderr


def test_close_matches() -> None:
    ids = [f"class{n % 7}/video_{n:05d}.mp4" for n in range(60_000)]
    assert close_matches(ids, "VIDEO_00012") == ["class5/video_00012.mp4"]
    assert close_matches(["a/kitten.mp4", "b/dog.mp4"], "c/kiten.mp4") == ["a/kitten.mp4"]
    assert close_matches(["a/kitten.mp4"], "something else") == []
    assert close_matches(ids, "class3/vidoe_59993.mp4")[0] == "class3/video_59993.mp4"  # its folder's come first
