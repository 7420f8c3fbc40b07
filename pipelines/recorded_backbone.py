"""The backbone behind recorded features, loaded again: from its own source, or from where the user says it is."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from scale_video.extract.backbones.identity import differences
from scale_video.extract.backbones.placement import choose
from scale_video.extract.backbones.protocol import Backbone
from scale_video.extract.backbones.registry import load_backbone, parse_backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.store.errors import PlanMismatchError

OPTION: Final = "--backbone"


def load_recorded(
    name: str,
    attributes: Mapping[str, Any],
    *,
    device: str = "auto",
    given: BackboneRequest | None = None,
    option: str = OPTION,
) -> Backbone:
    """Load the backbone that some features say they are of, or the one that the user says they are.

    Args:
        name: Of the features.
        attributes: Of the features' group in a store.
        device: ``auto``, ``cpu`` or ``cuda``.
        given: Where its weights are, if its own source does not lead to them.
        option: By which a user says so, for the message.

    Raises:
        ValueError: weights that cannot be had.
    """
    backbone = given or replace(parse_backbone(str(attributes["source"])), name=name)
    normalisation = attributes["preprocessing"].get("normalisation", "own")
    device, _ = choose(device, "auto")
    # Half precision is slow on a CPU, and float32 is what it approximates.
    precision = str(attributes.get("precision", "float32")) if device == "cuda" else "float32"
    try:
        return load_backbone(replace(backbone, device=device, precision=precision, normalisation=normalisation))
    except ValueError as error:
        raise ValueError(f"{error}; say where the weights of {name!r} are by {option} FAMILY:SOURCE@{name}") from None


def check_recorded(
    backbone: Backbone, name: str, attributes: Mapping[str, Any], *, where: str, option: str = OPTION
) -> None:
    """Refuse a backbone that is not the one whose features these are.

    Args:
        backbone: As loaded.
        name: Of the features.
        attributes: Of the features' group in a store.
        where: What records them, for the message: ``random/lite in store 'x.zarr'``.
        option: By which a user names other weights.

    Raises:
        PlanMismatchError: what differs, and the way out.
    """
    if differing := differences(backbone.spec, attributes):
        raise PlanMismatchError(
            f"{backbone.spec.source} is not the backbone of {where}, which has another {' and '.join(differing)}; name "
            f"the right weights by {option} FAMILY:SOURCE@{name}"
        )
