"""A store of sixty videos, five of which are here as files, and the explorer of it behind a real server."""

import asyncio
import http.client
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from tornado.netutil import bind_sockets

from scale_video.aggregate.checkpoint import RECORD, TrainingRecord
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.aggregate.set_transformer import SetTransformerConfig
from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits, VideoOrder
from scale_video.extract.decode import DecodedVideo
from scale_video.pipelines.explorer.explorer import Explorer, ExploreRequest
from scale_video.pipelines.explorer.guard import Guard
from scale_video.pipelines.explorer.server import serving
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, create_store
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable
from scale_video.store.write import BlockWriter

NUM_VIDEOS, NUM_CLIPS, DIM, BLOCK_SIZE = 60, 5, 16, 8
CLASSES = ("run", "jump", "<i>fly</i>")
SCRIPT = "<script>alert(1)</script>.mp4"
"""Path of row 3; the slash in it makes it a file in a folder."""
FILES = (0, 1, 2, 3, 4)
CORRUPT, LINKED = 7, 8
WIDTH, HEIGHT, RATE, NUM_FRAMES = 96, 64, 12, 48


@dataclass(frozen=True)
class Explored:
    """What there is to explore."""

    store: str
    data: Path
    checkpoint: Path


@dataclass(frozen=True)
class Server:
    """A running one."""

    address: str
    """Without a slash at its end."""
    explorer: Explorer

    def get(self, path: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer."""
        host, port = self.address.removeprefix("http://").split(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def settle(self) -> None:
        """Wait until all that pages ask for has been computed."""
        self.explorer.begin()  # as the first page does when it has been sent
        pause = threading.Event()
        while not all(task.finished for task in self.explorer.background.tasks()):
            pause.wait(0.02)


def write_film(path: Path, *, seed: int) -> None:
    """A square that moves over a plain ground, as every browser plays it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(NUM_FRAMES):
            pixels = np.full((HEIGHT, WIDTH, 3), 40 + 30 * seed, np.uint8)
            pixels[8:24, index : index + 16] = (250, 240, 20)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def make_store(
    url: str, *, seed: int = 0, prefix: str = "", num_committed: int | None = None, weights_digest: str = "w0"
) -> str:
    """Random features that depend on the class; three classes, two parts of a split, one corrupt video."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(NUM_VIDEOS) % 3).astype(np.int32)
    ids = [f"{prefix}{('run', 'jump', 'fly')[label]}/{row:02d}.mp4" for row, label in enumerate(labels)]
    if not prefix:
        ids[3] = SCRIPT
    videos = VideoTable(
        ids=tuple(ids),
        paths=tuple(ids),
        groups=tuple(ids),
        labels={"label": labels},
        class_names={"label": CLASSES},
        splits={"1": np.where(np.arange(NUM_VIDEOS) < 40, 1, 3).astype(np.uint8)},
    )
    probes = [
        VideoProbe(
            VideoStatus.OK,
            duration_seconds=NUM_FRAMES / RATE + (0 if row in FILES else row % 7),
            frames_per_second=RATE,
            num_frames=NUM_FRAMES,
            height=HEIGHT,
            width=WIDTH,
        )
        for row in range(NUM_VIDEOS)
    ]
    coordinates = np.zeros((NUM_VIDEOS, NUM_CLIPS, 7), np.float32)
    coordinates[:, :, 0] = rng.integers(0, 2, (NUM_VIDEOS, NUM_CLIPS))
    coordinates[:, :, 1:3] = rng.uniform(0, 0.4, (NUM_VIDEOS, NUM_CLIPS, 2))
    coordinates[:, :, 3:5] = coordinates[:, :, 1:3] + 0.5
    coordinates[:, :, 5] = rng.uniform(0, 2.5, (NUM_VIDEOS, NUM_CLIPS))
    coordinates[:, :, 6] = coordinates[:, :, 5] + 1
    valid = np.ones((NUM_VIDEOS, NUM_CLIPS), bool)
    plan = ClipPlan("random", {"flip_probability": 0.5, "nominal_size": 32}, coordinates, valid,
                    np.ones(NUM_VIDEOS, bool))  # fmt: skip
    create_store(url, videos=videos, probes=probes, plans=[plan], attributes={"dataset": "films"},
                 block_size=BLOCK_SIZE)  # fmt: skip
    add_backbone(url, view="random", name="tiny", feature_dim=DIM, weights_digest=weights_digest,
                 attributes={"num_frames": 4, "frame_size": 24})  # fmt: skip
    features = 7 + rng.normal(size=(NUM_VIDEOS, NUM_CLIPS, DIM)) + rng.normal(size=(3, 1, DIM))[labels]
    valid[CORRUPT] = False
    valid[9, 2:] = False
    status = np.full(NUM_VIDEOS, VideoStatus.OK, np.uint8)
    status[CORRUPT], status[9] = VideoStatus.CORRUPT, VideoStatus.PARTIAL
    errors = ["" for _ in ids]
    errors[CORRUPT], errors[9] = "<b>bad</b> & worse", "ends after 2 clips"
    features[~valid] = np.nan
    writer = BlockWriter(url, view="random", backbone="tiny")
    for index in range(-(-NUM_VIDEOS // BLOCK_SIZE) if num_committed is None else num_committed):
        rows = slice(index * BLOCK_SIZE, min((index + 1) * BLOCK_SIZE, NUM_VIDEOS))
        block = (features[rows].astype(np.float16), valid[rows], status[rows], tuple(errors[rows]))
        writer.write(FeatureBlock(index, *block))
    return url


def make_checkpoint(path: Path) -> Path:
    """An aggregator that was not trained, which is no matter here."""
    config = PretrainConfig(model=SetTransformerConfig(width=32))
    weights = initial_aggregator(config, feature_dim=DIM, seed=0).state_dict()
    provenance = {"view": "random", "backbone": "tiny", "weights_digest": "w0"}
    record = TrainingRecord(config, DIM, (), provenance, epochs_done=config.epochs, share_done=1.0)
    torch.save({"state_dict": {f"aggregator.{k}": v for k, v in weights.items()}, RECORD: record.to_plain()}, path)
    return path


@pytest.fixture(scope="session")
def store_maker() -> Callable[..., str]:
    """``make_store``."""
    return make_store


@pytest.fixture(scope="session")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Explored:
    """Sixty videos, files of five of them and a link out of their folder, and an aggregator."""
    root = tmp_path_factory.mktemp("explored")
    store = make_store(str(root / "films.zarr"))
    paths = [SCRIPT if row == 3 else f"{('run', 'jump', 'fly')[row % 3]}/{row:02d}.mp4" for row in FILES]
    for row, path in zip(FILES, paths, strict=True):
        write_film(root / "data" / path, seed=row)
    write_film(root / "elsewhere.mp4", seed=5)
    (root / "data" / "fly" / f"{LINKED:02d}.mp4").symlink_to(root / "elsewhere.mp4")
    return Explored(store, root / "data", make_checkpoint(root / "last.ckpt"))


@contextmanager
def run_server(request: ExploreRequest, *, host: str = "127.0.0.1", token: str | None = None) -> Iterator[Server]:
    """Serve in a thread, as ``scale-video explore`` does in its process."""
    guard, (socket, *_) = Guard.of(host, token), bind_sockets(0, "127.0.0.1")
    address = f"http://127.0.0.1:{socket.getsockname()[1]}"
    started, loops = threading.Event(), []
    told = asyncio.Event()
    with closing(Explorer(request)) as explorer:

        async def serve() -> None:
            loops.append(asyncio.get_running_loop())
            with serving(explorer, guard, [socket]):
                started.set()
                await told.wait()

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        try:
            started.wait()
            yield Server(address, explorer)
        finally:
            loops[0].call_soon_threadsafe(told.set)
            thread.join()


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[Server]]:
    """``run_server``."""
    return run_server


@pytest.fixture(scope="session", autouse=True)
def _one_decoder() -> Iterator[None]:
    """All servers share one decoding process, which takes seconds to start, one after the other."""
    lock = threading.Lock()
    with closing(ClipDecoders(DecodeLimits())) as decoders, pytest.MonkeyPatch.context() as patch:

        def decode(orders: Iterable[VideoOrder]) -> Generator[DecodedVideo]:
            with lock:
                yield from decoders.decode(orders)

        lent = SimpleNamespace(decode=decode, close=lambda: None)
        patch.setattr("scale_video.pipelines.explorer.pictures.ClipDecoders", lambda limits: lent)
        yield


@pytest.fixture(scope="session")
def server(explored: Explored) -> Iterator[Server]:
    """The explorer of the sixty videos, with the aggregator, everything computed."""
    request = ExploreRequest(explored.store, checkpoint=explored.checkpoint, data_root=explored.data, num_decoders=1)
    with run_server(request) as running:
        running.get("/")
        running.settle()
        yield running
