"""A member of each family of backbones, tiny and randomly initialised, in the files that the family reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from scale_video.extract.backbones.slow_r50 import SlowResNet
from scale_video.extract.backbones.timesformer_divided import DividedTimeSformer

VIT = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def write_all(folder: Path) -> dict[str, str]:
    """Write them; what to ask for, by family."""
    asked = {name: name for name in ("motion3d", "motion3d-ssl", "lite", "lite-moments")}
    torch.manual_seed(0)
    for family, model in _of_transformers().items():
        path = folder / f"tiny-{family}"
        model.save_pretrained(path)
        asked[family] = f"{family}:{path}@{family}"
    described = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # no type but this file tells those of a ViT
    (folder / "tiny-image" / "preprocessor_config.json").write_text(json.dumps(described))
    asked["image-moments"] = f"image-moments:{folder / 'tiny-image'}@image-moments"
    byol = {f"backbone_hist.{k}": v for k, v in SlowResNet(width=8, num_blocks=(1, 1, 1, 1)).state_dict().items()}
    torch.save({"model_state": byol}, folder / "byol.pyth")
    asked["rho-byol"] = f"rho-byol:{folder / 'byol.pyth'}"
    network = DividedTimeSformer(
        width=64, depth=1, mlp_width=64, patch_size=16, num_places=4, num_times=8, norm_eps=1e-6, resizing="nearest"
    )
    torch.save({f"backbone.{name}": tensor for name, tensor in network.state_dict().items()}, folder / "svt.pth")
    for family in ("svt", "svt-scale"):
        asked[family] = f"{family}:{folder / 'svt.pth'}"
    return asked


def _of_transformers() -> Mapping[str, Any]:
    jepa = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2.0, "crop_size": 32}
    jepa |= {"patch_size": 16, "pred_hidden_size": 12, "pred_num_hidden_layers": 1, "pred_num_attention_heads": 2}
    prism = {"num_spatial_layers": 1, "num_temporal_layers": 1, "num_auxiliary_layers": 1, "image_size": 36}
    prism |= {"tubelet_size": [1, 18, 18], "num_frames": 4} | {k: v for k, v in VIT.items() if "layers" not in k}
    tubes = {"image_size": 32, "num_frames": 4, "tubelet_size": [2, 16, 16]}
    return {
        "videomae": transformers.VideoMAEModel(
            transformers.VideoMAEConfig(**VIT, image_size=32, patch_size=16, num_frames=4)
        ),
        "timesformer": transformers.TimesformerModel(
            transformers.TimesformerConfig(**VIT, image_size=32, patch_size=16, num_frames=4)
        ),
        "vivit": transformers.VivitModel(transformers.VivitConfig(**VIT, **tubes)),
        "vjepa2": transformers.VJEPA2Model(transformers.VJEPA2Config(**jepa)),
        "videoprism": transformers.VideoPrismVisionModel(transformers.VideoPrismVisionConfig(**prism)),
        "image": transformers.ViTModel(transformers.ViTConfig(**VIT, image_size=32, patch_size=16)),
    }
