"""The embedded data sets: edited videos, rendered to real mp4 files.

``<root>/<split>/<class>/<index>.mp4`` and a manifest, ``<root>/demo.json``. Every file follows from its ``VideoSpec``
alone and is written as a whole, so any number of processes gives the same bytes, and an interrupted rendering goes on
where it was. The manifest is written first, so that a folder never mixes two renderings.
"""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.datasets.edit_script import VARIANTS, VideoSpec, draw_video
from scale_video.extract.datasets.h264_encoding import encode_mp4
from scale_video.extract.datasets.render_shots import FRAMES_PER_SECOND, render_shot
from scale_video.extract.datasets.texture_bank import texture_bank

RENDERER_VERSION: Final = 1
"""Raised with every change of the code that changes the files."""
MANIFEST_NAME: Final = "demo.json"


@dataclass(frozen=True, slots=True)
class DemoParameters:
    """What a rendered data set follows from."""

    variant: str = "demo"
    """One of ``VARIANTS``."""
    num_train: int = 960
    """Training videos; a multiple of the number of classes makes classes equally large."""
    num_test: int = 480
    """Test videos."""
    seed: int = 0
    """Another seed gives other videos and other textures."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: an unknown variant, a split with fewer videos than classes, or a negative seed.
        """
        if self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r} is none of {', '.join(VARIANTS)}")
        num_classes = len(VARIANTS[self.variant])
        for name, count in (("num_train", self.num_train), ("num_test", self.num_test)):
            if count < num_classes:
                raise ValueError(f"{name} ({count}) is below the {num_classes} classes of {self.variant!r}; raise it")
        if self.seed < 0:
            raise ValueError(f"seed ({self.seed}) must be 0 or more")


def video_specs(parameters: DemoParameters) -> tuple[VideoSpec, ...]:
    """All videos of a data set: training videos by index, then test videos."""
    return tuple(
        VideoSpec(variant=parameters.variant, seed=parameters.seed, split=split, index=index)
        for split, count in (("train", parameters.num_train), ("test", parameters.num_test))
        for index in range(count)
    )


def render_frames(spec: VideoSpec) -> NDArray[np.uint8]:
    """Render a video's frames: RGB, shape (F, FRAME_SIZE, FRAME_SIZE, 3)."""
    bank = texture_bank(spec.split, spec.seed)
    return np.concatenate([render_shot(shot, bank) for shot in draw_video(spec)])


def render_video(spec: VideoSpec, path: Path) -> None:
    """Write one video; the file is there as a whole or not at all."""
    unfinished = path.with_suffix(".partial")
    unfinished.write_bytes(encode_mp4(render_frames(spec), frames_per_second=FRAMES_PER_SECOND))
    unfinished.replace(path)


def render_demo(
    root: Path,
    parameters: DemoParameters,
    *,
    num_workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render a data set, or what is missing of it.

    Args:
        root: Folder of the data set; made if absent.
        parameters: What to render.
        num_workers: Processes; 1 renders in this one.
        progress: Called after every video with the number of videos that are there, and the number of all.

    Raises:
        ValueError: ``num_workers`` < 1, or ``root`` holds another rendering or foreign files.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers ({num_workers}) must be 1 or more")
    _claim(root, parameters)
    num_videos = parameters.num_train + parameters.num_test
    missing = missing_videos(root, parameters)
    for folder in {(root / spec.relative_path).parent for spec in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    for num_done in _render_all(root, missing, num_workers=min(num_workers, len(missing))):
        if progress is not None:
            progress(num_videos - len(missing) + num_done, num_videos)


def missing_videos(root: Path, parameters: DemoParameters) -> list[VideoSpec]:
    """Which videos of a data set are not there; lists the folders and opens no file."""
    present: dict[str, set[str]] = {}
    missing = []
    for spec in video_specs(parameters):
        folder, name = spec.relative_path.rsplit("/", 1)
        if folder not in present:
            there = (root / folder).is_dir()
            present[folder] = {path.name for path in (root / folder).iterdir()} if there else set()
        if name not in present[folder]:
            missing.append(spec)
    return missing


def read_manifest(root: Path) -> DemoParameters:
    """Parameters of the rendering in a folder.

    Raises:
        ValueError: there is none, or one by another version of the renderer.
    """
    path = root / MANIFEST_NAME
    if not path.is_file():
        raise ValueError(f"{str(root)!r} holds no rendered data set ({MANIFEST_NAME} is absent); render it first")
    manifest = json.loads(path.read_text())
    if manifest["renderer_version"] != RENDERER_VERSION:
        raise ValueError(
            f"{str(root)!r} was rendered by version {manifest['renderer_version']} of the renderer, this is version "
            f"{RENDERER_VERSION}; delete the folder or choose another"
        )
    return DemoParameters(**manifest["parameters"])


def _claim(root: Path, parameters: DemoParameters) -> None:
    """Write the manifest into an empty or absent folder, or see that it is already there.

    Raises:
        ValueError: the folder holds another rendering or foreign files.
    """
    if (root / MANIFEST_NAME).is_file():
        rendered = read_manifest(root)
        if rendered != parameters:
            raise ValueError(
                f"{str(root)!r} holds a rendering of {rendered}, not of {parameters}; "
                "delete the folder or choose another"
            )
        return
    unfinished = root / f"{MANIFEST_NAME}.partial"
    root.mkdir(parents=True, exist_ok=True)
    if any(path != unfinished for path in root.iterdir()):
        raise ValueError(f"{str(root)!r} holds files but no {MANIFEST_NAME}; choose an empty folder for the rendering")
    manifest = {"parameters": asdict(parameters), "renderer_version": RENDERER_VERSION}
    unfinished.write_text(json.dumps(manifest, indent=2) + "\n")
    unfinished.replace(root / MANIFEST_NAME)


def _render_all(root: Path, specs: list[VideoSpec], *, num_workers: int) -> Iterator[int]:
    """Render videos in one process or several; yields how many are done."""
    render = partial(_render_below, root)
    if num_workers <= 1:
        yield from (num_done for num_done, _ in enumerate(map(render, specs), start=1))
        return
    # Never fork: the caller may have threads, of Dask or of torch.
    with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from (num_done for num_done, _ in enumerate(pool.map(render, specs, chunksize=8), start=1))


def _render_below(root: Path, spec: VideoSpec) -> None:
    """Render a video to its place below ``root``."""
    render_video(spec, root / spec.relative_path)
