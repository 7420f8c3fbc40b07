"""What a folder's ``preprocessor_config.json`` says of colours and size.

It is read as JSON: the library's own processors need packages (torchvision) that this one does not.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scale_video.extract.backbones.hub import PIXEL_DESCRIPTIONS
from scale_video.extract.backbones.pixels import IMAGENET, Normalisation
from scale_video.extract.backbones.transformers_folder import TransformersFolder

logger = logging.getLogger(__name__)

HALF: Final = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""From -1 to 1."""
CLIP: Final = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
UNIT: Final = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""From 0 to 1."""
NORMALISATIONS: Final[Mapping[str, Normalisation]] = {
    "clip": CLIP,
    "clip_vision_model": CLIP,
    "convnext": IMAGENET,
    "convnextv2": IMAGENET,
    "deit": IMAGENET,
    "dinov2": IMAGENET,
    "dinov2_with_registers": IMAGENET,
    "dinov3_convnext": IMAGENET,
    "dinov3_vit": IMAGENET,
    "resnet": IMAGENET,
    "siglip": HALF,
    "siglip2": HALF,
    "siglip2_vision_model": HALF,
    "siglip_vision_model": HALF,
    "timesformer": Normalisation((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    "videoprism": UNIT,
    "videoprism_vision_model": UNIT,
    "vjepa2": IMAGENET,
}
"""As published, by model type, for folders that hold no description.

Types whose published models differ are left out: a ``vit`` may be Google's (-1 to 1) or DINO's (ImageNet).
"""


def own_normalisation(folder: TransformersFolder) -> Normalisation:
    """The normalisation that a model was trained with: its folder's, else its type's; or SCALE's where that is asked.

    Raises:
        ValueError: neither says; or the file is damaged.
    """
    asked = folder.request.normalisation
    described = read_preprocessor(folder.path)
    if described is not None:
        try:
            return _affine(described).or_the_papers(asked)
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise ValueError(f"the normalisation of {folder.request.source!r} cannot be read: {error}") from error
    known = NORMALISATIONS.get(folder.model_type)
    if known is None and asked == "own":
        raise ValueError(
            f"{folder.request.source!r} holds no preprocessor_config.json, and models of type "
            f"{folder.model_type!r} are not all known to have the same colours; get that file as well"
        )
    if known is not None and asked == "own":
        logger.warning(
            "%r holds no preprocessor_config.json: its colours are taken to be those of most models of type %r "
            "(mean %s, standard deviation %s)",
            folder.request.source,
            folder.model_type,
            known.mean,
            known.std,
        )
    return (known or IMAGENET).or_the_papers(asked)


def read_preprocessor(path: Path) -> Mapping[str, Any] | None:
    """The description of the pixels that a folder holds, or None.

    Raises:
        ValueError: it is damaged.
    """
    for name in PIXEL_DESCRIPTIONS:
        if (path / name).is_file():
            try:
                described = json.loads((path / name).read_text())
                # One file for all of a model's inputs keeps those of images and of videos under keys.
                for key in ("video_processor", "image_processor"):
                    described = described.get(key, described)
                if isinstance(described, dict) and _describes_pixels(described):
                    return described
            except (ValueError, AttributeError):
                raise ValueError(f"{name} of {path.name!r} is damaged; get it again") from None
    return None


def cropped_size(described: Mapping[str, Any] | None) -> int | None:
    """Pixels of the square that the description ends with, or None where it does not say."""
    if described is None:
        return None
    crops = described.get("do_center_crop") is not False and "crop_size" in described
    size = described["crop_size"] if crops else described.get("size")
    if isinstance(size, dict):
        sides = {size.get("height"), size.get("width")}
        size = sides.pop() if len(sides) == 1 else None
        size = size if size is not None or crops else described["size"].get("shortest_edge")
    return size if isinstance(size, int) else None


def _describes_pixels(described: Mapping[str, Any]) -> bool:
    return "image_mean" in described or described.get("do_normalize") is False


def _affine(described: Mapping[str, Any]) -> Normalisation:
    """Scale, then offset, then mean and standard deviation: one affine function of a pixel in 0 … 1."""
    scale = float(described.get("rescale_factor", 1 / 255)) if described.get("do_rescale") is not False else 1.0
    shift = 1.0 if described.get("offset") is True else 0.0
    normalises = described.get("do_normalize") is not False
    if normalises and "image_std" not in described:
        raise ValueError("it has an image_mean and no image_std")
    mean = _three(described["image_mean"] if normalises else 0.0)
    std = _three(described["image_std"] if normalises else 1.0)
    # (255 · scale · p - shift - mean) / std = (p - (shift + mean) / unit) / (std / unit)
    unit = 255 * scale
    if abs(unit - 1) < 1e-6:  # most of them: keep the numbers as they are written
        unit = 1.0
    red, green, blue = ((shift + value) / unit for value in mean)
    deviations = tuple(value / unit for value in std)
    if min(deviations) <= 0:
        raise ValueError(f"the standard deviations are {deviations}, not positive")
    return Normalisation((red, green, blue), (deviations[0], deviations[1], deviations[2]))


def _three(values: float | Sequence[float]) -> tuple[float, float, float]:
    """One number for all colours, or three."""
    red, green, blue = [values] * 3 if isinstance(values, int | float) else values
    return float(red), float(green), float(blue)
