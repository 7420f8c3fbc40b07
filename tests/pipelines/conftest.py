"""Real videos in the layouts that users have, and the command line called as they call it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result
from transformers import VideoMAEConfig, VideoMAEModel

from scale_video.extract.datasets.edited_videos import DemoParameters, render_demo
from scale_video.pipelines.cli import main

# Small enough for seconds, large enough that every part of the pipeline does its work.
SMALL_TRAINING = (
    "pretrain.epochs=2",
    "pretrain.batch_size=8",
    "pretrain.prediction_hidden_dim=16",
    "pretrain.target_hidden_dim=16",
    "pretrain.set_hidden_dim=16",
    "pretrain.projection_dim=8",
    "pretrain.model.width=32",
)


def write_video(path: Path, *, seed: int, num_frames: int = 75, fps: int = 25, codec: str = "mpeg4") -> None:
    """A texture that drifts, 96 × 72 pixels; ``mpeg4`` in an avi carries the XVID tag."""
    generator = np.random.default_rng(seed)
    texture = np.kron(generator.integers(0, 255, (40, 40, 3), dtype=np.uint8), np.ones((6, 6, 1), dtype=np.uint8))
    step = generator.integers(-2, 3, size=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        if path.suffix == ".avi":
            stream.codec_context.codec_tag = "XVID"
        for index in range(num_frames):
            pixels = np.roll(texture, tuple(step * index), axis=(0, 1))[:72, :96]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def ucf101_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of UCF101 in miniature: 3 classes × 4 groups × 2 clips as XviD avi, with the official lists."""
    root = tmp_path_factory.mktemp("ucf")
    classes = ("ApplyEyeMakeup", "HandstandPushups", "YoYo")
    lists: dict[str, list[str]] = {f"{part}list0{n}.txt": [] for part in ("train", "test") for n in (1, 2)}
    for label, name in enumerate(classes, start=1):
        for group in range(1, 5):
            for clip in (1, 2):
                file = f"{name}/v_{name}_g{group:02d}_c{clip:02d}.avi"
                write_video(root / "UCF-101" / file, seed=100 * label + 10 * group + clip)
                for split, test_group in ((1, 1), (2, 2)):
                    if group == test_group:
                        lists[f"testlist0{split}.txt"].append(file)
                    else:
                        lists[f"trainlist0{split}.txt"].append(f"{file} {label}")
    folder = root / "ucfTrainTestlist"
    folder.mkdir()
    (folder / "classInd.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(classes, start=1)))
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return root / "UCF-101"


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small rendering of the demo's videos."""
    root = tmp_path_factory.mktemp("rendering") / "demo"
    render_demo(root, DemoParameters(num_train=36, num_test=12), num_workers=2)
    return root


@pytest.fixture
def run_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Call ``scale-video`` in an empty folder; every argument becomes a string. Fails on a traceback."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object, status: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(arg) for arg in args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result

    return run


@pytest.fixture(scope="session")
def small_training() -> tuple[str, ...]:
    """Options that make pre-training a matter of a second."""
    return tuple(part for override in SMALL_TRAINING for part in ("--set", override))


@pytest.fixture(scope="session")
def make_video() -> Callable[..., None]:
    """``write_video``."""
    return write_video


@pytest.fixture
def tiny_videomae(tmp_path: Path) -> Path:
    """A randomly initialised VideoMAE of two layers, as a local folder."""
    config = VideoMAEConfig(
        image_size=32, patch_size=16, num_frames=16, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48,
    )  # fmt: skip
    VideoMAEModel(config).save_pretrained(tmp_path / "tiny-videomae")
    return tmp_path / "tiny-videomae"
