"""Presets: TOML files that say how clips are drawn, how the aggregator is trained, and which views are compared."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from scale_video.aggregate.pretrain_config import PretrainConfig
from scale_video.evaluate.options import DEFAULT_OPTIONS, ProbeOptions
from scale_video.extract.backbones.request import NORMALISATIONS
from scale_video.extract.views import (
    AugmentedView,
    GridView,
    RandomView,
    View,
    augmented_like,
    view_from_parameters,
    view_parameters,
)

PretrainVideos = Literal["train", "all"]
_FOLDER = Path(__file__).parent / "presets"
_DEFAULT_VIEWS: Mapping[str, View] = {"random": RandomView(), "grid": GridView(), "augmented": AugmentedView()}
_KEYS = ("pretrain_videos", "normalisation", "train_view", "test_view", "views", "pretrain", "evaluate", "datasets")


@dataclass(frozen=True, slots=True)
class Preset:
    """A resolved preset for one data set."""

    name: str
    views: Mapping[str, View]
    """By name, which is also the name of the view's group in the store: those that are extracted if none is named."""
    pretrain: PretrainConfig
    pretrain_videos: PretrainVideos
    """``train``: the training part of the split; ``all``: every video, as published."""
    train_view: str
    """View of the training videos, for pre-training and for the probes."""
    test_view: str
    """View of the test videos."""
    normalisation: str = "own"
    """Of colours, see ``BackboneRequest``."""
    probes: ProbeOptions = DEFAULT_OPTIONS
    """What probes on clips choose on, and their schedule: ``selection`` and ``schedule_epochs``; and the windows that
    the other probes average over: ``window_seconds``."""

    def view(self, name: str) -> View:
        """A view by its name. ``augmented`` can be had without being defined: like ``random``, with colours changed.

        Raises:
            ValueError: there is no such view.
        """
        views = _with_augmented(self.views)
        if name not in views:
            raise ValueError(f"no view {name!r} in preset {self.name!r}; it has: {', '.join(views)}")
        return views[name]


def preset_names() -> tuple[str, ...]:
    """The presets that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def default_preset(dataset: str) -> str:
    """The preset of a data set when none is named: ``demo`` for the embedded ones, else ``honest``."""
    return "demo" if all(name.split("-")[0] == "demo" for name in dataset.split(",")) else "honest"


def load_preset(name: str, *, dataset: str, overrides: Sequence[str] = ()) -> Preset:
    """Read a preset and resolve it for a data set.

    Args:
        name: name of one that comes with the package, or path of a TOML file.
        dataset: its table ``datasets.<dataset>`` is laid over the rest.
        overrides: ``key=value`` with dotted keys and TOML values, laid over everything: ``pretrain.epochs=5``.

    Raises:
        ValueError: no such preset, not TOML, an unknown key, or a value of the wrong type or out of range; the message
            names it.
    """
    text, label = _read(name)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"preset {name!r} is not TOML: {error}") from None
    of_datasets = _table("datasets", values.pop("datasets", {}))
    values = _overlaid(values, _table(f"datasets.{dataset}", of_datasets.get(dataset, {})))
    for override in overrides:
        values = _overlaid(values, _parse_override(override))
    unknown = sorted(set(values) - set(_KEYS))
    if unknown:
        raise ValueError(f"preset {name!r} has the unknown key {unknown[0]!r}; known are: {', '.join(_KEYS)}")
    views: dict[str, View] = {}
    given = _table("views", values.get("views", {}))
    for view in sorted(given, key=lambda name: name == "augmented"):  # after the one that it is like
        views[view] = _view(view, given[view], like=views.get("random"))
    preset = Preset(
        name=label,
        views=views,
        pretrain=PretrainConfig.from_mapping(_table("pretrain", values.get("pretrain", {}))),
        pretrain_videos=values.get("pretrain_videos", "train"),
        train_view=values.get("train_view", "random"),
        test_view=values.get("test_view", "grid"),
        normalisation=values.get("normalisation", "own"),
        probes=_probes(_table("evaluate", values.get("evaluate", {}))),
    )
    if preset.pretrain_videos not in get_args(PretrainVideos):
        raise ValueError(f"pretrain_videos must be 'train' or 'all', got {preset.pretrain_videos!r}")
    if preset.normalisation not in NORMALISATIONS:
        raise ValueError(f"normalisation must be {' or '.join(NORMALISATIONS)}, got {preset.normalisation!r}")
    for view in (preset.train_view, preset.test_view):
        if not isinstance(view, str) or view not in _with_augmented(views):
            raise ValueError(f"preset {name!r} uses the view {view!r} but defines only: {', '.join(views) or 'none'}")
    return preset


def _read(name: str) -> tuple[str, str]:
    if name in preset_names():
        return (_FOLDER / f"{name}.toml").read_text(), name
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"no preset {name!r}: neither a file nor one of {', '.join(preset_names())}")
    return path.read_text(), path.stem


def _table(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a table, got {value!r}")
    return value


def _with_augmented(views: Mapping[str, View]) -> dict[str, View]:
    """The views, and ``augmented`` where it is not among them but ``random`` is."""
    random = views.get("random")
    if "augmented" in views or not isinstance(random, RandomView):
        return dict(views)
    return {**views, "augmented": augmented_like(random)}


def _probes(given: Mapping[str, Any]) -> ProbeOptions:
    known = ("selection", "schedule_epochs", "window_seconds")
    for key in given:
        if key not in known:
            raise ValueError(f"evaluate has the unknown key {key!r}; known are: {', '.join(known)}")
    if not isinstance(given.get("schedule_epochs", 0), int):
        raise ValueError(f"evaluate.schedule_epochs must be a whole number, got {given['schedule_epochs']!r}")
    window_seconds = given.get("window_seconds", 0)
    if not isinstance(window_seconds, (int, float)) or isinstance(window_seconds, bool):
        raise ValueError(f"evaluate.window_seconds must be a number, got {window_seconds!r}")
    return ProbeOptions(**{**given, "window_seconds": float(window_seconds)})


def _view(name: str, given: object, *, like: View | None) -> View:
    """A view from the parameters that are given, the paper's for the rest; ``augmented`` follows ``random`` in it."""
    parameters = _table(f"views.{name}", given)
    kind = parameters.get("kind", name)
    if kind != name:
        raise ValueError(f"views.{name} is of kind {kind!r}; a view is named after its kind")
    if name not in _DEFAULT_VIEWS:
        raise ValueError(f"unknown view {name!r}; known are: {', '.join(_DEFAULT_VIEWS)}")
    default = _DEFAULT_VIEWS[name]
    if isinstance(default, AugmentedView) and isinstance(like, RandomView):
        default = augmented_like(like)
    defaults = view_parameters(default)
    default_crop = defaults.get("crop", {}).get("kind")
    crop = _table(f"views.{name}.crop", parameters.get("crop", {}))
    if crop.get("kind", default_crop) != default_crop:
        defaults["crop"] = {}  # another kind of crop shares no parameter with the default one
    try:
        return view_from_parameters(_overlaid(defaults, parameters))
    except ValueError as error:
        raise ValueError(f"views.{name}: {error}") from None


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"an override must read key=value, for example pretrain.epochs=5; got {text!r}")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a bare word is a string
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return dict(parsed)


def _overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over``, table by table."""
    merged = dict(base)
    for key, value in over.items():
        both_tables = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _overlaid(merged[key], value) if both_tables else value
    return merged
