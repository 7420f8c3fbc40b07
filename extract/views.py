"""The parameters of the views: what a store's clips were drawn by, and how that is stored and compared.

Source: SCALE (ICCV 2023) and its published code; the defaults are the paper's.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Final

from scale_video.extract.augmentation import AugmentationRanges

PAPER_SPAN_SECONDS: Final = 64 / 30
"""16 frames at a stride of 4, at 30 frames a second."""


@dataclass(frozen=True, slots=True)
class ShortSideCrop:
    """A square of ``size`` pixels anywhere in a frame whose short side was scaled to U(min, max) pixels.

    The published code rounds the short side to whole pixels; we keep the real number, as boxes are fractions here.
    """

    kind: ClassVar[str] = "short_side"
    min: int = 256
    max: int = 320
    size: int = 224

    def __post_init__(self) -> None:
        """Check that the square fits into the smallest frame.

        Raises:
            ValueError: it does not, or the limits are crossed.
        """
        if not 0 < self.size <= self.min <= self.max:
            raise ValueError(f"a short-side crop needs 0 < size <= min <= max, got {self}")


@dataclass(frozen=True, slots=True)
class AreaCrop:
    """A box of uniform area and log-uniform aspect anywhere in the frame, of those that fit into it."""

    kind: ClassVar[str] = "area"
    min_area: float = 0.35
    """Fractions of the frame's area."""
    max_area: float = 1.0
    min_aspect: float = 3 / 4
    """Width over height, in pixels."""
    max_aspect: float = 4 / 3

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ValueError: an empty range, or an area outside (0, 1].
        """
        if not (0 < self.min_area <= self.max_area <= 1 and 0 < self.min_aspect <= self.max_aspect < math.inf):
            raise ValueError(
                f"an area crop needs 0 < min_area <= max_area <= 1 and 0 < min_aspect <= max_aspect, got {self}"
            )


Crop = ShortSideCrop | AreaCrop


@dataclass(frozen=True, slots=True)
class RandomView:
    """Random clips: for pre-training, and for the training side of the probes."""

    kind: ClassVar[str] = "random"
    num_clips: int = 16
    """Clips a video, K; the most, where they follow the duration."""
    span_seconds: float = PAPER_SPAN_SECONDS
    """From a clip's first sample time to one frame after its last."""
    nominal_size: int = 224
    """Pixels of a square frame, for a backbone that takes any size."""
    flip_probability: float = 0.5
    crop: Crop = ShortSideCrop()
    seed: int = 0
    clips_per_minute: float = 0.0
    """Clips by the duration of a video, at least one; 0: ``num_clips`` of every video."""

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ValueError: a parameter out of its range.
        """
        _check_counts(self, "num_clips", "nominal_size")
        _check_span(self.span_seconds)
        _check_rate(self.clips_per_minute)
        if not 0 <= self.flip_probability <= 1:
            raise ValueError(f"flip_probability must be in [0, 1], got {self.flip_probability}")


@dataclass(frozen=True, slots=True)
class AugmentedView(RandomView):
    """Random clips whose colours and sharpness are changed as well: for pre-training."""

    kind: ClassVar[str] = "augmented"
    crop: Crop = AreaCrop(min_area=0.2, max_area=0.766)
    augmentation: AugmentationRanges = field(default_factory=AugmentationRanges)

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ValueError: a parameter out of its range.
        """
        RandomView.__post_init__(self)  # super() does not know classes with slots
        if self.augmentation.max_blur_sigma > self.nominal_size:
            raise ValueError(
                f"max_blur_sigma ({self.augmentation.max_blur_sigma}) must not be larger than the frame, "
                f"nominal_size ({self.nominal_size})"
            )


@dataclass(frozen=True, slots=True)
class GridView:
    """Even starts × even places: for the test side of the probes. Nothing in it is random."""

    kind: ClassVar[str] = "grid"
    num_times: int = 5
    """The most, where they follow the duration."""
    num_places: int = 3
    """Along the longer side: left, centre, right, or top, middle, bottom of a portrait frame."""
    span_seconds: float = PAPER_SPAN_SECONDS
    short_side: int = 256
    """Pixels to which the short side of the frame is scaled, before a square of ``nominal_size`` is cut out."""
    nominal_size: int = 256
    clips_per_minute: float = 0.0
    """Clips by the duration of a video, in whole times, at least one; 0: ``num_times`` of every video."""

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ValueError: a parameter out of its range.
        """
        _check_counts(self, "num_times", "num_places", "nominal_size")
        _check_span(self.span_seconds)
        _check_rate(self.clips_per_minute)
        if self.nominal_size > self.short_side:
            raise ValueError(
                f"nominal_size ({self.nominal_size}) does not fit into a short side of {self.short_side} pixels; "
                "lower nominal_size or raise short_side"
            )

    @property
    def num_clips(self) -> int:
        """Clips a video, K; the most, where they follow the duration."""
        return self.num_times * self.num_places


View = RandomView | GridView
"""An ``AugmentedView`` is a ``RandomView``."""
_LATER: Final = {"clips_per_minute": 0.0}
"""Parameters that came later, with the values under which they are left out: plans without them stay what they were."""


def augmented_like(view: RandomView) -> AugmentedView:
    """The augmented view that goes with a random one: as many clips, of the same span, size and flips.

    A blur is as wide, as a part of the frame, as it is in frames of 224 pixels.
    """
    usual = AugmentationRanges()
    scale = view.nominal_size / 224
    return AugmentedView(
        num_clips=view.num_clips,
        span_seconds=view.span_seconds,
        nominal_size=view.nominal_size,
        flip_probability=view.flip_probability,
        seed=view.seed,
        clips_per_minute=view.clips_per_minute,
        augmentation=replace(
            usual, min_blur_sigma=usual.min_blur_sigma * scale, max_blur_sigma=usual.max_blur_sigma * scale
        ),
    )


def view_parameters(view: View) -> dict[str, Any]:
    """The view as JSON values, for the attributes of its group in the store."""
    parameters = {"kind": view.kind, **asdict(view)}
    for name, default in _LATER.items():
        if parameters[name] == default:
            del parameters[name]
    if isinstance(view, RandomView):
        parameters["crop"] = {"kind": view.crop.kind, **asdict(view.crop)}
    return parameters


def view_from_parameters(parameters: Mapping[str, Any]) -> View:
    """The view that ``view_parameters`` turned into these values; equal views draw equal clips.

    Raises:
        ValueError: an unknown kind, a parameter too many or too few, of the wrong type, or out of its range.
    """
    view: View = _from_parameters(parameters, kinds=(RandomView, AugmentedView, GridView), what="view")
    return view


def _from_parameters(parameters: Mapping[str, Any], *, kinds: tuple[type[View | Crop], ...], what: str) -> Any:
    values = dict(parameters)
    kind = values.pop("kind", None)
    cls = next((cls for cls in kinds if cls.kind == kind), None)
    if cls is None:
        known = ", ".join(cls.kind for cls in kinds)
        raise ValueError(f"unknown kind of {what} {kind!r}; this release knows: {known}")
    expected = {known.name for known in fields(cls)}
    values = {name: default for name, default in _LATER.items() if name in expected} | values
    if values.keys() != expected:
        odd = ", ".join(sorted(values.keys() ^ expected))
        raise ValueError(f"the parameters of a {kind!r} {what} must be {', '.join(sorted(expected))}; differing: {odd}")
    crop, augmentation = values.pop("crop", None), values.pop("augmentation", None)
    values = {name: _checked(value, name=name, default=getattr(cls(), name)) for name, value in values.items()}
    if "crop" in expected:
        if not isinstance(crop, Mapping):
            raise ValueError(f"crop must be a table, got {crop!r}")
        values["crop"] = _from_parameters(crop, kinds=(ShortSideCrop, AreaCrop), what="crop")
    if "augmentation" in expected:
        values["augmentation"] = _augmentation(augmentation)
    return cls(**values)


def _augmentation(given: Any) -> AugmentationRanges:
    known = AugmentationRanges()
    if not isinstance(given, Mapping) or given.keys() != asdict(known).keys():
        raise ValueError(f"augmentation must be a table of {', '.join(asdict(known))}, got {given!r}")
    return AugmentationRanges(**{n: _checked(v, name=n, default=getattr(known, n)) for n, v in given.items()})


def _checked(value: Any, *, name: str, default: Any) -> Any:
    """The value, if it is of the default's type."""
    expected = type(default)
    if expected is float and type(value) is int:  # 1 is a fine way to write 1.0
        value = float(value)
    if type(value) is not expected:
        raise ValueError(f"{name} must be {expected.__name__}, got {value!r}")
    return value


def _check_counts(view: View, *names: str) -> None:
    for name in names:
        if getattr(view, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(view, name)}")


def _check_span(span_seconds: float) -> None:
    if not 0 < span_seconds < math.inf:
        raise ValueError(f"span_seconds must be above 0 and finite, got {span_seconds}")


def _check_rate(clips_per_minute: float) -> None:
    if not 0 <= clips_per_minute < math.inf:
        raise ValueError(f"clips_per_minute must be 0 (off) or above, and finite, got {clips_per_minute}")


SSV2_RANDOM: Final = RandomView(span_seconds=32 / 30, flip_probability=0.0)
"""The paper's departure for Something-Something v2: stride 2, and no flip, since left and right are in its labels."""
SSV2_GRID: Final = GridView(num_times=2, span_seconds=32 / 30)
