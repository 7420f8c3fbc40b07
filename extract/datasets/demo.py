"""The rows of a rendered data set: ``demo``, ``demo-hard`` or ``demo-control``, whichever the folder holds."""

from pathlib import Path

import numpy as np

from scale_video.extract.datasets.edit_script import VARIANTS
from scale_video.extract.datasets.edited_videos import missing_videos, read_manifest, video_specs
from scale_video.store.video_table import SPLIT_CODES, VideoTable


def list_demo(root: Path) -> VideoTable:
    """List a rendering: training videos by index, then test videos.

    Args:
        root: Folder that ``render_demo`` filled.

    Returns:
        Ids and paths relative to ``root``, every video its own group, the column ``label``, and the split ``1``.

    Raises:
        ValueError: ``root`` holds no rendering, or an unfinished one.
    """
    parameters = read_manifest(root)
    specs = video_specs(parameters)
    missing = missing_videos(root, parameters)
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(specs)} videos are missing in {str(root)!r}, the first is "
            f"{missing[0].relative_path!r}; render the data set again to complete it"
        )
    paths = tuple(spec.relative_path for spec in specs)
    return VideoTable(
        ids=paths,
        paths=paths,
        groups=paths,
        labels={"label": np.array([spec.class_index for spec in specs], np.int32)},
        class_names={"label": tuple(VARIANTS[parameters.variant])},
        splits={"1": np.array([SPLIT_CODES[spec.split] for spec in specs], np.uint8)},
    )
