"""``scale-video export``: a trained aggregator as one safetensors file, with a card that says what it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scale_video.aggregate.aggregator_file import SUFFIX, is_aggregator_file
from scale_video.aggregate.checkpoint import CheckpointError, LoadedAggregator, load_aggregator, save_aggregator
from scale_video.pipelines.code_version import git_revision, versions
from scale_video.pipelines.export_card import card
from scale_video.pipelines.feature_recipe import FeatureRecipe
from scale_video.pipelines.paths import checkpoint_path, write_whole
from scale_video.pipelines.provenance import aggregator_digest

DEFAULT_NAME: Final = f"aggregator{SUFFIX}"


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written."""

    output: Path
    card: Path
    num_parameters: int
    num_training_videos: int
    aggregator_digest: str
    complete: bool
    """Whether training had reached its end."""
    has_recipe: bool
    """Whether it says how its features are made of new files."""


def run_export(source: Path, output: Path | None = None) -> ExportResult:
    """Write an export and its card.

    Args:
        source: A checkpoint, or the folder of one run.
        output: Ends in ``.safetensors``; ``aggregator.safetensors`` beside the checkpoint when None.

    Raises:
        CheckpointError: there is no checkpoint, or none that can be read.
        ValueError: the output ends otherwise, is the checkpoint itself, or it or its card would replace something else.
    """
    checkpoint = find_checkpoint(source.expanduser())
    output = checkpoint.with_name(DEFAULT_NAME) if output is None else output.expanduser()
    if output.suffix != SUFFIX:
        raise ValueError(f"--output must end in {SUFFIX}, got {output.name!r}")
    if output.resolve() == checkpoint.resolve():
        raise ValueError(f"{str(output)!r} is what is to be exported; choose another place by --output")
    if output.exists() and not is_aggregator_file(output):
        raise ValueError(f"{str(output)!r} is there, and no export; choose another place by --output")
    page = output.with_suffix(".md")
    if page.exists() and not page.read_bytes().startswith(f"# {output.name}\n".encode()):
        raise ValueError(f"the card would replace {str(page)!r}, which is none; choose another name by --output")
    loaded = load_aggregator(checkpoint)
    also = description(loaded)
    output.parent.mkdir(parents=True, exist_ok=True)
    save_aggregator(output, loaded, also=also)
    write_whole(page, card(loaded, also, name=output.name))
    return ExportResult(
        output=output,
        card=page,
        num_parameters=also["num_parameters"],
        num_training_videos=also["num_training_videos"],
        aggregator_digest=also["aggregator_digest"],
        complete=loaded.is_complete,
        has_recipe=FeatureRecipe.of_provenance(loaded.provenance) is not None,
    )


def find_checkpoint(source: Path) -> Path:
    """The checkpoint that a file or the folder of a run means.

    Raises:
        CheckpointError: a folder without one, or with those of several seeds.
    """
    if not source.is_dir():
        return source
    if (own := checkpoint_path(source)).is_file():
        return own
    several = sorted(source.glob("seed*/last.ckpt"))
    if len(several) == 1:
        return several[0]
    found = f"has those of {len(several)} seeds; name one, such as {str(several[0])!r}" if several else "has none"
    raise CheckpointError(f"one checkpoint is meant, and the folder '{source}' {found}")


def description(loaded: LoadedAggregator) -> dict[str, Any]:
    """What the header says beside the checkpoint's own record. Nothing that differs between equal exports."""
    recipe = FeatureRecipe.of_provenance(loaded.provenance)
    return {
        "kind": "set transformer of scale-video (SCALE, arXiv 2211.17042)",
        "num_parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "num_training_videos": len(loaded.training_videos),
        "aggregator_digest": aggregator_digest(loaded),
        "backbone_licence": "unknown" if recipe is None else str(recipe.attributes.get("licence", "unknown")),
        "versions": versions(),
        "git_revision": git_revision(),
    }
