"""The card beside an export: what it is, what it was trained on, how to load it with us and without us, its limits."""

import json
from collections.abc import Mapping
from typing import Any, Final

from scale_video.aggregate.checkpoint import FEATURES_DIGEST, LoadedAggregator
from scale_video.pipelines.feature_recipe import FeatureRecipe

WITHOUT_US: Final = """\
import json
import torch
from safetensors import safe_open
from torch import nn

with safe_open("{name}", framework="pt") as file:
    described = json.loads(file.metadata()["scale_video"])
    weights = {{key: file.get_tensor(key) for key in file.keys() if key != "training_videos"}}
sizes, dim = described["config"]["model"], described["feature_dim"]
width = sizes["width"]
mirrors = {flips}  # whether the view mirrors clips at random


class SetTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(dim, width)
        hidden = sizes["position_hidden_dim"]
        self.embed_position = nn.Sequential(nn.Linear(7, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.cls_token = nn.Parameter(torch.zeros(width))
        self.mask_token = nn.Parameter(torch.zeros(width))  # of pre-training only
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, sizes["num_heads"], round(width * sizes["mlp_ratio"]),
                activation="gelu", batch_first=True, norm_first=True,
            )
            for _ in range(sizes["num_layers"])
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features, coordinates):  # of one video's K clips: (K, D) and (K, 7)
        tokens = self.project(features) + self.embed_position(normalised(coordinates))
        tokens = torch.cat([self.cls_token[None], tokens])[None]
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens)[0]  # first the global token, then the refined clips


def normalised(coordinates):  # columns: flip, top, left, bottom, right, start, end
    scaled = torch.zeros_like(coordinates)
    for low, high in ((1, 3), (2, 4), (5, 6)):
        origin = coordinates[:, low].min()
        extent = coordinates[:, high].max() - origin
        if extent > 0:
            scaled[:, [low, high]] = (coordinates[:, [low, high]] - origin) / extent
    if sizes.get("positions") == "absolute":
        scaled = coordinates / torch.tensor([1, 1, 1, 1, 1, 10, 10])
    scaled[:, 0] = coordinates[:, 0] * 2 - 1 if mirrors else -1
    return scaled


model = SetTransformer().eval()
model.load_state_dict(weights)
"""
"""Self-contained; run by a test."""


def card(loaded: LoadedAggregator, described: Mapping[str, Any], *, name: str) -> str:
    """A page in Markdown.

    Args:
        loaded: What is exported.
        described: What its header says beside the record.
        name: Of the export's file.
    """
    provenance, recipe = loaded.provenance, FeatureRecipe.of_provenance(loaded.provenance)
    source = "source not recorded" if recipe is None else str(recipe.attributes.get("source", "source not recorded"))
    rows = {
        "data set": provenance.get("dataset", "unknown"),
        "split, part": f"{provenance.get('split', 'unknown')}, {provenance.get('pretrain_videos', 'unknown')}",
        "videos": described["num_training_videos"],
        "training": f"{loaded.share_done:.0%} of {loaded.config.length}, seed {loaded.config.seed}",
        "view": f"{provenance.get('view', 'unknown')} (plan {provenance.get('plan_digest', 'unknown')})",
        "features, every byte of them": provenance.get(FEATURES_DIGEST, "unknown"),
        "backbone": f"{provenance.get('backbone', 'unknown')}: {source}",
        "its weights, and their use": f"{provenance.get('weights_digest')}, {provenance.get('forward_digest')}",
        "its licence": described["backbone_licence"],
        "aggregator": f"{described['num_parameters']:,} parameters, digest {described['aggregator_digest']}",
        "code": ", ".join(f"{package} {version}" for package, version in described["versions"].items()),
    }
    if "second_view" in provenance:
        rows["second view"] = f"{provenance['second_view']} (plan {provenance.get('second_plan_digest')})"
    return "\n".join(
        [
            f"# {name}",
            "",
            _WHAT,
            "",
            "| | |",
            "|---|---|",
            *(f"| {key} | {_cell(value)} |" for key, value in rows.items()),
            "",
            "The file's header holds all of this as JSON: configuration, digests"
            + (", and how features are made of new videos." if recipe else f".{_NO_RECIPE}"),
            "",
            "## With scale-video",
            "",
            _indented(
                f"scale-video embed STORE --checkpoint {name}      # features of this backbone, in a store\n"
                f"scale-video embed new.mp4 --checkpoint {name}    # or straight from files\n"
                f"scale-video search STORE --query new.mp4 --checkpoint {name}\n"
                f"scale-video knn --dataset DATASET --checkpoint {name}"
            ),
            "",
            "## Without",
            "",
            "`torch` and `safetensors` are enough:",
            "",
            "```python",
            WITHOUT_US.format(name=name, flips=recipe is not None and recipe.flips) + "```",
            "",
            "## Limits",
            "",
            *(f"- {limit}" for limit in _LIMITS),
            "",
            "## Configuration",
            "",
            "```json",
            json.dumps(loaded.config.to_mapping(), indent=1, sort_keys=True),
            "```",
            "",
        ]
    )


_WHAT: Final = (
    "A set transformer that reads the features of a video's clips, with the place of each in space and time, and gives "
    "one refined vector per clip and one for the video (`cls`). It was trained without labels, as in "
    "[SCALE](https://arxiv.org/abs/2211.17042). The mean of the refined clips is called `h`, that of the features `x`; "
    "`x+cls` is their concatenation."
)
_NO_RECIPE: Final = (
    " It does not say how features are made of new videos, since the checkpoint is of an earlier release: name a store "
    "by `--store` to embed files. Set `mirrors` in the program below to what the view does; it is not known here."
)
_LIMITS: Final = (
    "It reads features of that backbone alone, made as the header says; others are refused by their digests.",
    "It was trained on clips drawn by one rule; other numbers and lengths of clips work, and are another distribution.",
    "The training videos are there as digests of their ids (`training_videos`): enough to refuse an evaluation on a "
    "video that was seen, too little to list them. The training's heads and optimiser are not there: it cannot be gone "
    "on with.",
    "What its vectors are worth for a task is for that task's test videos to say. Whether the backbone's licence binds "
    "what was trained on its features is not for this card to decide.",
)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
