"""Networks of images as encoders of frames, pooled over time: DINOv2, DINOv3, SigLIP 2, CLIP, any of ``AutoModel``.

Of models for images and text the vision tower is loaded alone. A frame's vector is what the model's family publishes as
such, see ``ImageVector``.
"""

import inspect
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from scale_video.extract.backbones.frame_pooling import NUM_FRAMES, POOLINGS, PooledFrames
from scale_video.extract.backbones.frozen_network import FrozenNetwork
from scale_video.extract.backbones.pixels import VIEW_SIZES
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.preprocessor_config import cropped_size, own_normalisation, read_preprocessor
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.transformers_folder import TransformersFolder, first_line, open_folder, square_side

_PUBLISHED_SIZES: Final = {"dinov2": 224, "dinov2_with_registers": 224}
"""Sizes at which models are used whose table of positions belongs to another (518), by model type."""


def load(request: BackboneRequest, placement: Placement) -> FrozenNetwork:
    """Load a network of images from a folder or the hub, for the family ``image`` or ``image-moments``.

    Raises:
        ValueError: the weights cannot be had, or are not of a network that takes images.
    """
    folder = open_folder(request)
    import transformers

    config = folder.configuration()
    tower = getattr(config, "vision_config", None)
    # A pooler that the files lack is one that the library adds to models which were trained without.
    loaded = folder.load(transformers.AutoModel, config=tower, may_lack=lambda key: key.startswith("pooler."))
    if loaded.missing:
        loaded.model.pooler = None
    if "pixel_values" not in inspect.signature(loaded.model.forward).parameters:
        raise ValueError(
            f"{request.source!r} ({type(loaded.model).__name__}) takes no images; choose a model that does"
        )
    image = ImageVector(loaded.model)
    size = None if _takes_the_views(image, tower or config) else _own_size(folder, tower or config)
    frame_dim = image.probe(size or VIEW_SIZES[0], source=request.source)
    pooling = POOLINGS[request.family.removeprefix("image")]
    normalisation = own_normalisation(folder)
    spec = folder.spec(
        placement,
        normalisation,
        image,
        num_frames=NUM_FRAMES,
        frame_size=size,
        feature_dim=pooling.dim(frame_dim),
        layer=f"{image.layer}; {pooling.description}",
        remarks={"positions": "the model's own interpolation, if it has a table"} if size is None else None,
    )
    return FrozenNetwork(
        PooledFrames(image, pooling),
        spec,
        normalisation=normalisation,
        placement=placement,
        multiple_of=_patch_size(tower or config, source=request.source),
    )


class ImageVector(nn.Module):
    """One vector of an image.

    It is the model's ``pooler_output`` where that is there: DINO's CLS token after the norm; CLIP's likewise, before
    its projection into the narrower space that it shares with texts; the attention pooling of SigLIP; the mean of a
    convolutional network's map. Else it is the CLS token of its last tokens, else their mean.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.layer = ""
        """Where the vector is taken; ``probe`` finds out."""
        parameters = inspect.signature(model.forward).parameters
        self._settings = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in parameters else {}
        self._takes_patches = "spatial_shapes" in parameters
        self._has_cls = any(name.endswith(("cls_token", "class_embedding")) for name, _ in model.named_parameters())

    def forward(self, images: Tensor) -> Tensor:
        """From (B, 3, H, W) to (B, D)."""
        return self._vector(self._outputs(images))[0]

    @torch.inference_mode()
    def takes(self, size: int) -> bool:
        """Whether it takes images of this size."""
        try:
            self._outputs(torch.zeros(1, 3, size, size))
        except Exception:  # whatever a model raises that wants another
            return False
        return True

    @torch.inference_mode()
    def probe(self, size: int, *, source: str | None) -> int:
        """Send one image through, and say how long its vector is.

        Raises:
            ValueError: it does not take images of this size.
        """
        try:
            vector, self.layer = self._vector(self._outputs(torch.zeros(1, 3, size, size)))
        except Exception as error:  # whatever a model raises that wants something else
            raise ValueError(
                f"{source!r} ({type(self.model).__name__}) does not take images of {size} pixels "
                f"({first_line(error)}); choose a model of images"
            ) from error
        return vector.shape[1]

    def _outputs(self, images: Tensor) -> Any:
        if self._takes_patches:
            return self.model(**_patches(images, self.model.config.patch_size))
        return self.model(pixel_values=images, **self._settings)

    def _vector(self, outputs: Any) -> tuple[Tensor, str]:
        """The vector, and where it was taken."""
        pooled = outputs.get("pooler_output")
        if pooled is not None:
            return pooled.flatten(1), f"pooler_output of {type(self.model).__name__}"  # a map of one place stays a map
        tokens: Tensor = outputs.last_hidden_state  # (B, tokens, D), or a map (B, D, height, width)
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)
        vector = tokens[:, 0] if self._has_cls else tokens.mean(1)
        name = "CLS token" if self._has_cls else "mean"
        return vector, f"{name} of the last_hidden_state of {type(self.model).__name__}"


def _takes_the_views(image: ImageVector, config: Any) -> bool:
    """Whether a model takes the views' sizes: its patches divide them, its table belongs to one of them, it works.

    To sizes whose positions it never saw only rotary ones and convolutions are indifferent.
    """
    patch = _patch_size(config, source=None)
    table = getattr(config, "image_size", None)
    fits = table is None or set(_sides(table)) <= set(VIEW_SIZES)
    return fits and all(size % patch == 0 and image.takes(size) for size in VIEW_SIZES)


def _own_size(folder: TransformersFolder, config: Any) -> int:
    """The size at which a model is published to be used."""
    described = cropped_size(read_preprocessor(folder.path))
    table = getattr(config, "image_size", None) or VIEW_SIZES[0]
    native = square_side(table, what="image_size", source=folder.request.source)
    return described or _PUBLISHED_SIZES.get(folder.model_type) or native


def _patch_size(config: Any, *, source: str | None) -> int:
    return square_side(getattr(config, "patch_size", None) or 1, what="patch_size", source=source)


def _sides(size: int | Sequence[int]) -> Sequence[int]:
    return (size,) if isinstance(size, int) else size


def _patches(images: Tensor, patch: int) -> dict[str, Tensor]:
    """What models of images of any shape (SigLIP 2 naflex) take: patches, which of them count, how many each way."""
    tiles = images.unfold(2, patch, patch).unfold(3, patch, patch)  # (B, 3, rows, columns, patch, patch)
    num_images, _, rows, columns = tiles.shape[:4]
    pixels = tiles.permute(0, 2, 3, 4, 5, 1).reshape(num_images, rows * columns, -1)
    return {
        "pixel_values": pixels,
        "pixel_attention_mask": torch.ones(pixels.shape[:2], dtype=torch.long, device=images.device),
        "spatial_shapes": torch.tensor([[rows, columns]] * num_images, device=images.device),
    }
