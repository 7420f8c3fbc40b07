"""Rendering an embedded data set, with progress; it notices what is there already."""

from dataclasses import replace
from pathlib import Path

from scale_video.extract.datasets.edited_videos import DemoParameters, render_demo
from scale_video.pipelines.console import ticking


def render(
    variant: str, folder: Path, *, num_workers: int, seed: int = 0, num_videos: tuple[int, int] | None = None
) -> None:
    """Render what is missing of a variant.

    Args:
        variant: ``demo``, ``demo-hard`` or ``demo-control``.
        folder: where its files go.
        num_workers: processes.
        seed: of the data; another one gives other videos and textures.
        num_videos: for training and testing; the defaults of ``DemoParameters`` when None.

    Raises:
        ValueError: the folder holds a rendering with other parameters.
    """
    parameters = DemoParameters(variant=variant, seed=seed)
    if num_videos is not None:
        parameters = replace(parameters, num_train=num_videos[0], num_test=num_videos[1])
    with ticking(f"rendering {variant}", parameters.num_train + parameters.num_test) as ticker:
        render_demo(folder, parameters, num_workers=num_workers, progress=lambda done, total: ticker.update(done))
