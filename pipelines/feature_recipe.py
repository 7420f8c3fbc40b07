"""How features are made, in full: by what clips are drawn, and how a backbone turns them into vectors.

A store knows it of its features. Pre-training writes it into its checkpoints, so that an aggregator can be used on new
files where the store is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from scale_video.aggregate.checkpoint import RECIPE
from scale_video.extract.views import View, view_from_parameters
from scale_video.store.union import ReadableStore

MAX_VIDEO_BYTES: Final = 2**34
"""Of the decoded clips of one video; a recipe may come from anybody, and decoders take the memory that it asks for."""
_NEEDED: Final[Mapping[str, type]] = {
    "source": str,
    "num_frames": int,
    "frame_size": int,
    "feature_dim": int,
    "weights_digest": str,
    "preprocessing": dict,
}


@dataclass(frozen=True, slots=True)
class FeatureRecipe:
    """What makes features of one backbone in one view."""

    view: str
    """Name of the view."""
    parameters: Mapping[str, Any]
    """What its clips are drawn by."""
    backbone: str
    """Name of the features."""
    attributes: Mapping[str, Any]
    """Of the features' group in a store: source, digest, frames, size, layer, preprocessing, precision, licence …"""

    @classmethod
    def of_store(cls, store: ReadableStore, *, view: str, backbone: str) -> "FeatureRecipe":
        """How the features of a store were made.

        Raises:
            MissingArrayError: the store has no such view or backbone.
        """
        attributes = {k: v for k, v in store.backbone_attributes(view, backbone).items() if k != "created"}
        return cls(view, dict(store.plan_parameters(view)), backbone, attributes)

    @classmethod
    def of_provenance(cls, provenance: Mapping[str, Any]) -> "FeatureRecipe | None":
        """How the features were made that an aggregator was trained on; None where its checkpoint does not say."""
        recipe = provenance.get(RECIPE)
        if not isinstance(recipe, dict) or not all(isinstance(recipe.get(k), dict) for k in ("view", "backbone")):
            return None
        names = str(provenance.get("view")), str(provenance.get("backbone"))
        return cls(names[0], recipe["view"], names[1], recipe["backbone"])

    def to_plain(self) -> dict[str, Any]:
        """The recipe as it lies in the provenance of a checkpoint; the names stand beside it there."""
        return {"view": dict(self.parameters), "backbone": dict(self.attributes)}

    @property
    def flips(self) -> bool:
        """Whether the view mirrors clips at random."""
        probability = self.parameters.get("flip_probability", 0)
        return isinstance(probability, int | float) and probability > 0  # a recipe may come from anybody

    @property
    def num_frames(self) -> int:
        """Frames of a clip, T."""
        return int(self.attributes["num_frames"])

    @property
    def frame_size(self) -> int:
        """Pixels of a frame's side, S."""
        return int(self.attributes["frame_size"])

    def check_complete(self) -> None:
        """Check that all is known that decoding and embedding need.

        Raises:
            ValueError: something is not.
        """
        for name, kind in _NEEDED.items():
            if not isinstance(self.attributes.get(name), kind):
                raise ValueError(
                    f"nothing says how features of {self.backbone!r} are made of a video ({name} is "
                    f"{str(self.attributes.get(name))[:80]})"
                )

    def drawn_view(self) -> View:
        """The view, ready to draw clips of new videos.

        Raises:
            ValueError: this release cannot draw such a view or make such features, or the clips of one video would not
                fit into memory.
        """
        self.check_complete()
        try:
            view = view_from_parameters(self.parameters)
        except ValueError as error:
            raise ValueError(f"view {self.view!r} cannot be drawn of new videos: {error}") from error
        num_bytes = view.num_clips * self.num_frames * self.frame_size**2 * 3
        if min(self.num_frames, self.frame_size) < 1 or num_bytes > MAX_VIDEO_BYTES:
            raise ValueError(
                f"{view.num_clips} clips of {self.num_frames} frames of {self.frame_size}² pixels are more than a "
                f"video may take ({MAX_VIDEO_BYTES >> 30} GiB); use another view"
            )
        return view
