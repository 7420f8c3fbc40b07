"""A model as the transformers library saves it: its folder, its description, its weights, whole or not at all."""

import hashlib
import importlib.metadata
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scale_video.extract.backbones.forward_settings import settings_digest
from scale_video.extract.backbones.hub import (
    SAFETENSORS,
    TORCH_BIN,
    licence,
    model_folder,
    quiet_transformers,
    weight_files,
)
from scale_video.extract.backbones.pixels import Normalisation
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.backbones.weights_digest import weights_digest


@dataclass(frozen=True, slots=True)
class TransformersFolder:
    """A folder with ``config.json`` and weights."""

    request: BackboneRequest
    """As the user asked for it."""
    path: Path
    name: str
    """The hub's name, or the last path segment."""
    config: Mapping[str, Any]
    """What ``config.json`` says."""

    @property
    def model_type(self) -> str:
        """Which architecture of the library it is."""
        return str(self.config.get("model_type"))

    def configuration(self) -> Any:
        """The library's configuration object, of the type that ``config.json`` names.

        Raises:
            ValueError: the library knows no such type, or it would need code from elsewhere.
        """
        import transformers

        try:
            return transformers.AutoConfig.from_pretrained(self.path, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # the library has many
            raise ValueError(f"cannot read config.json of {self.request.source!r} ({first_line(error)})") from error

    def _vision_configuration(self) -> Any:
        """Of a model for vision and text the half that gives the features."""
        config = self.configuration()
        return getattr(config, "vision_config", None) or config

    def load(self, cls: Any, *, config: Any = None, may_lack: Callable[[str], bool] | None = None) -> "LoadedModel":
        """Load a model's weights from safetensors, else by ``torch.load(weights_only=True)``.

        Args:
            cls: the library's class.
            config: its configuration, where it is not that of ``config.json``.
            may_lack: which tensors features do not depend on, so that the files may lack them.

        Raises:
            ValueError: the files are damaged, or lack a tensor that features depend on.
        """
        settings = {} if config is None else {"config": config}
        try:
            with quiet_transformers():
                model, info = cls.from_pretrained(
                    self.path,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=weight_files(self.path)[0].suffix == ".safetensors",
                    weights_only=True,
                    output_loading_info=True,
                    **settings,
                )
        except Exception as error:  # safetensors, pickle and zip each have their own
            raise ValueError(
                f"cannot read the weights of {self.request.source!r} ({first_line(error)}); get them again"
            ) from error
        missing = frozenset(info["missing_keys"])
        absent = sorted(key for key in missing if may_lack is None or not may_lack(key))
        if absent:
            raise ValueError(
                f"the weights of {self.request.source!r} lack {len(absent)} of the tensors that features depend on, "
                f"the first: {absent[0]}; get them again"
            )
        model = model.float().eval().requires_grad_(False)
        # Out of the mapped file, where their alignment depends on its header and shows in the last bit of a product.
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
        return LoadedModel(model, missing)

    def spec(
        self,
        placement: Placement,
        normalisation: Normalisation,
        network: nn.Module,
        *,
        num_frames: int,
        frame_size: int | None,
        feature_dim: int,
        layer: str,
        remarks: Mapping[str, Any] | None = None,
    ) -> BackboneSpec:
        """Describe a backbone made of this folder.

        Args:
            placement: where it computes.
            normalisation: of its pixels.
            network: that gives the features, and nothing more.
            num_frames: see ``BackboneSpec``, and likewise for those that follow.
            frame_size: pixels, or None.
            feature_dim: D.
            layer: where the features are taken.
            remarks: what else belongs to the preprocessing.
        """
        return BackboneSpec(
            name=self.request.name,
            source=f"{self.request.family}:{self.name}",
            num_frames=num_frames,
            frame_size=frame_size,
            feature_dim=feature_dim,
            layer=layer,
            preprocessing={
                **normalisation.describe(),
                **(remarks or {}),
                "configuration_digest": settings_digest(self._vision_configuration()),
            },
            weights_digest=nameless_digest(network),
            licence=licence(self.path),
            precision=placement.precision,
            library_versions={library: importlib.metadata.version(library) for library in ("torch", "transformers")},
        )


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in float32 and in evaluation mode."""

    model: Any
    missing: frozenset[str]
    """Names of tensors that the files lack; they hold random numbers."""


def open_folder(
    request: BackboneRequest, model_types: Collection[str] | None = None, *, needs_pixels: bool = True
) -> TransformersFolder:
    """Find a model and read its description.

    Args:
        request: whose source is a folder, or a name on the hub, whose cache is looked at first.
        model_types: the types that fit; None: any.
        needs_pixels: whether the family goes by what the model's files say of pixels.

    Raises:
        ValueError: transformers is not installed, the folder cannot be had, is not whole or is of another type.
    """
    assert request.source is not None
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"backbone {request.family} needs the transformers library ({error}); "
            "pip install 'scale-video[transformers]'"
        ) from None
    path, name = model_folder(request.family, request.source, needs_pixels=needs_pixels)
    folder = TransformersFolder(request, path, name, _read_config(path, source=request.source))
    if model_types is not None and folder.model_type not in model_types:
        raise ValueError(
            f"{request.source!r} is a model of type {folder.model_type!r}, not {' or '.join(map(repr, model_types))}; "
            f"choose one for the family {request.family}"
        )
    if not weight_files(path):
        raise ValueError(
            f"{request.source!r} holds neither {SAFETENSORS} nor {TORCH_BIN}, with all shards that their index names; "
            "get the weights as well"
        )
    return folder


def model_class(name: str, *, family: str, since: str) -> Any:
    """A class of the transformers library.

    Raises:
        ValueError: the installed release does not have it; the message says which does.
    """
    import transformers

    cls = getattr(transformers, name, None)
    if cls is None:
        raise ValueError(
            f"backbone {family} needs transformers {since} or later, found {transformers.__version__}; "
            f"pip install 'transformers>={since}'"
        )
    return cls


def square_side(size: Any, *, what: str, source: str | None) -> int:
    """The side of a square, which configurations give as one number or as two.

    Raises:
        ValueError: it is no square.
    """
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ValueError(f"{source!r} has the {what} {size}; choose a model of square ones")
    return int(sides.pop())


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def nameless_digest(network: nn.Module) -> str:
    """Hash the tensors that features depend on by what they hold, not by how a release of the library calls them.

    Each tensor goes by the sha256 of its own bytes and by its place: the numbers in its name, which are those of
    layers, and, for matrices and kernels, how many of the same shape come before. (Releases also move the modules of a
    layer: since 5, those of a ViT's MLP come after its norms. The order of all tensors would change with that.)
    Integers (counters, indices) are no weights.
    """
    tensors: dict[str, Tensor] = {}
    seen: Counter[object] = Counter()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            data = tensor.detach().cpu().contiguous().float()
            own = hashlib.sha256(data.reshape(-1).numpy().data).hexdigest()
            place = ".".join(part for part in name.split(".") if part.isdigit())
            if tensor.ndim > 1:
                place += f"#{seen[tensor.shape]}"
                seen[tensor.shape] += 1
            key = f"{place} {own}"
            tensors[f"{key} {seen[key]}"] = tensor.float()
            seen[key] += 1
    return weights_digest(tensors)


def _read_config(path: Path, *, source: str) -> Mapping[str, Any]:
    try:
        config = json.loads((path / "config.json").read_text())
    except OSError:
        raise ValueError(
            f"{source!r} holds no config.json; give the folder that transformers saved the model to"
        ) from None
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise ValueError(f"config.json of {source!r} is damaged; get it again")
    return config
