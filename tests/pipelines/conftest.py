"""Real videos in the layouts that users have, and the command line called as they call it."""

import importlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner, Result

from scale_video.extract.clip_decoders import DEFAULT_MEMORY_BYTES, ClipDecoders, DecodeLimits
from scale_video.extract.datasets.edited_videos import DemoParameters, render_demo
from scale_video.pipelines.cli import main
from scale_video.pipelines.paths import ExperimentRequest
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

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


def write_random_features(
    url: Path,
    *,
    seed: int = 0,
    backbone: str = "tiny",
    weights_digest: str = "w0",
    grid_weights_digest: str | None = None,
    failed: Sequence[int] = (),
    prefix: str = "",
    colours: Mapping[str, str] = MappingProxyType({}),
    num_videos: int = 40,
) -> str:
    """Random features of the first of 40 videos of two classes, 28 of them for training; views ``random`` and ``grid``.

    ``colours`` names what was done to those of a view; by default the features do not say.
    """
    rng = np.random.default_rng(seed)
    ids = tuple(f"{'ab'[i % 2]}/{prefix}{i:02d}.mp4" for i in range(num_videos))
    videos = VideoTable(
        ids=ids,
        paths=ids,
        groups=ids,
        labels={"label": np.arange(num_videos, dtype=np.int32) % 2},
        class_names={"label": ("a", "b")},
        splits={"1": np.where(np.arange(num_videos) < 28, 1, 3).astype(np.uint8)},
    )
    probe = VideoProbe(VideoStatus.OK, duration_seconds=5, frames_per_second=10, num_frames=50, height=4, width=4)
    valid = np.ones((num_videos, 16), dtype=bool)
    plans = [
        ClipPlan(
            view=view,
            parameters={"seed": seed, "flip_probability": flips},
            coordinates=rng.random((40, 16, 7), dtype=np.float32)[:num_videos],
            valid=valid,
            planned=np.ones(num_videos, dtype=bool),
        )
        for view, flips in (("random", 0.5), ("grid", 0.0))
    ]
    create_store(url, videos=videos, probes=[probe] * num_videos, plans=plans,
                 attributes={"dataset": "folder"}, block_size=num_videos)  # fmt: skip
    there = valid.copy()
    there[list(failed)] = False
    features = rng.normal(size=(40, 16, 4)).astype(np.float16)[:num_videos]
    features[~there] = np.nan
    status = np.where(there.any(axis=1), VideoStatus.OK, VideoStatus.CORRUPT).astype(np.uint8)
    errors = tuple("" if ok else "no frames" for ok in there.any(axis=1))
    for view, digest in (("random", weights_digest), ("grid", grid_weights_digest or weights_digest)):
        said: dict[str, Any] = {"frame_size": {"random": 224, "grid": 256}[view]}  # as of backbones that take any
        if view in colours:
            said["preprocessing"] = {"normalisation": colours[view]}
        add_backbone(url, view=view, name=backbone, feature_dim=4, weights_digest=digest, attributes=said)
        BlockWriter(str(url), view=view, backbone=backbone).write(FeatureBlock(0, features, there, status, errors))
    return str(url)


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
    render_demo(root, DemoParameters(num_train=36, num_test=12), num_workers=1)
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


@dataclass(frozen=True)
class TrainedFolder:
    """Videos, the store of their features, and the folder of an aggregator's run on them."""

    videos: Path
    store: Path
    run: Path


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory, small_training: tuple[str, ...]) -> TrainedFolder:
    """Ten short videos, one of them broken, extracted by the shipped backbone, and an aggregator trained on them."""
    root = tmp_path_factory.mktemp("trained")
    for seed in range(9):
        write_video(root / "videos" / "ab"[seed % 2] / f"ü {seed}.mp4", seed=seed, num_frames=60 + 5 * seed)
    (root / "videos" / "b" / "broken.mp4").write_bytes(b"no film")
    common = ("--dataset", "folder", "--store", root / "folder.zarr", "--backbone", "motion3d")
    extract = ("--data", root / "videos", "--views", "random", "--workers", 1, "--threads", "--no-estimate",
               "--block-size", 4, "--max-failures", "50%", "--clips", 16, "--decoders", 1,
               "--runs", root / "runs")  # fmt: skip
    pretrain = ("--runs", root / "runs", *small_training, "--set", "train_view=random", "--videos", "all")
    for command in (("extract", *common, *extract), ("pretrain", *common, *pretrain)):
        result = CliRunner().invoke(main, [str(part) for part in command])
        assert result.exit_code == 0, result.output
    (run,) = root.glob("runs/**/seed0")
    return TrainedFolder(root / "videos", root / "folder.zarr", run)


class LentDecoders:
    """Decoding processes that live on after they are closed, or forgotten, for whoever comes next."""

    def __init__(self, limits: DecodeLimits, shelf: list[ClipDecoders]) -> None:
        decoders = shelf.pop() if shelf else ClipDecoders(DecodeLimits())
        self.limits = limits
        self.decode, self.probe = decoders.decode, decoders.probe
        self.close = weakref.finalize(self, shelf.append, decoders)


@pytest.fixture(scope="session")
def _shelf() -> Iterator[list[ClipDecoders]]:
    shelf: list[ClipDecoders] = []
    yield shelf
    for decoders in shelf:
        decoders.close()


@pytest.fixture(scope="module", autouse=True)
def lent_decoders(_shelf: list[ClipDecoders]) -> Iterator[None]:
    """What decodes in this process, by usual limits, takes a process that is there: to start one takes seconds."""
    # Not above: what Dask logs goes where handlers are when it is imported, and pytest sets its own up after this file.
    from scale_video.extract.calibration import SAMPLE_TIMEOUT_SECONDS

    def lend(limits: DecodeLimits) -> ClipDecoders | LentDecoders:
        usual = limits.memory_bytes == DEFAULT_MEMORY_BYTES and limits.timeout_seconds >= SAMPLE_TIMEOUT_SECONDS
        return LentDecoders(limits, _shelf) if usual else ClipDecoders(limits)

    users = ("extract.block_task", "extract.calibration", "pipelines.embedding", "pipelines.search",
             "pipelines.strips", "pipelines.clip_export", "pipelines.recompute",
             "pipelines.report.video_strips")  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name in users:
            patch.setattr(f"scale_video.{name}.ClipDecoders", lend)
        yield


@pytest.fixture(scope="session")
def make_video() -> Callable[..., None]:
    """``write_video``."""
    return write_video


@pytest.fixture(scope="session")
def make_store() -> Callable[..., str]:
    """``write_random_features``."""
    return write_random_features


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., ExperimentRequest]:
    """An experiment on a store, of a second's training, in run folders of this test."""

    def make(store: str, *overrides: str, sizes: tuple[str, ...] = SMALL_TRAINING) -> ExperimentRequest:
        return ExperimentRequest(
            dataset="folder",
            store=store,
            preset="honest",
            overrides=(*sizes, *overrides),
            runs=tmp_path / "runs",
        )

    return make


@pytest.fixture
def tiny_videomae(tmp_path: Path) -> Path:
    """A randomly initialised VideoMAE of two layers, as a local folder."""
    from transformers import VideoMAEConfig, VideoMAEModel  # takes seconds, and few need it

    config = VideoMAEConfig(
        image_size=32, patch_size=16, num_frames=16, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48,
    )  # fmt: skip
    VideoMAEModel(config).save_pretrained(tmp_path / "tiny-videomae")
    return tmp_path / "tiny-videomae"


@pytest.fixture(scope="session")
def jobs() -> Iterator[ModuleType]:
    """``torture_job``; a test folder is no package to import it from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield importlib.import_module("torture_job")
