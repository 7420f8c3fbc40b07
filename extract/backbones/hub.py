"""Files of the Hugging Face hub: a local folder, the hub's cache, the hub; and who allows what with them."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

SAFETENSORS: Final = "model*.safetensors"
TORCH_BIN: Final = "pytorch_model*.bin"
PIXEL_DESCRIPTIONS: Final = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
"""Files that may say which pixels a model takes, the first that does counts."""
_DESCRIPTIONS: Final = (
    "config.json",
    *PIXEL_DESCRIPTIONS,
    "README.md",
    "model*.index.json",
    "pytorch_model*.index.json",
)


def model_folder(family: str, source: str, *, needs_pixels: bool = False) -> tuple[Path, str]:
    """The folder of a model's files, and what to call it.

    Args:
        family: of the backbone, for messages.
        source: a folder, or a name on the hub, whose cache is looked at first.
        needs_pixels: whether the family goes by what the model's files say of pixels.

    Returns:
        The folder, and the last path segment of a local one or else the hub's name.

    Raises:
        ValueError: no such folder, and not to be had from the hub; the message says what to get and where to put it.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        return folder, folder.name
    folder = _find_on_hub(family, source)
    if needs_pixels and not _describes_pixels(folder):
        _fetch_descriptions(source, folder)
    return folder, source


def _find_on_hub(family: str, source: str) -> Path:
    """The folder of a hub name's files, in the hub's cache; they are fetched where they are not there yet."""
    way_out = (
        "get config.json, preprocessor_config.json, model.safetensors and README.md of it on a machine with a network, "
        f"put them into one folder, and say {family}:/that/folder"
    )
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source) or source.startswith("."):
        raise ValueError(f"no such folder: {source!r}, and no name on the hub either (owner/model); {way_out}")
    import huggingface_hub

    # Whatever is cached serves as it is: all workers then have one revision, and need no network.
    for cached_only in (True, False):
        try:
            for patterns in ([*_DESCRIPTIONS, SAFETENSORS], [TORCH_BIN]):
                folder = Path(
                    huggingface_hub.snapshot_download(source, allow_patterns=patterns, local_files_only=cached_only)
                )
                if weight_files(folder):
                    return folder
            problem = "it holds no weights"
        except Exception as error:  # of requests or httpx, by the release of the hub's client
            problem = type(error).__name__
    raise ValueError(f"{source!r} is no folder here, and cannot be fetched from the hub ({problem}); {way_out}")


def _describes_pixels(folder: Path) -> bool:
    files = (folder / name for name in PIXEL_DESCRIPTIONS)
    return any("image_mean" in file.read_text(errors="replace") for file in files if file.is_file())


def _fetch_descriptions(source: str, cached: Path) -> None:
    """Complete what others left in the cache by the small files of the same revision, if the hub can be reached."""
    import huggingface_hub

    # The folder is called after its revision.
    with contextlib.suppress(Exception):  # of requests or httpx, or a cache that cannot be written to
        huggingface_hub.snapshot_download(source, revision=cached.name, allow_patterns=list(_DESCRIPTIONS))


def weight_files(folder: Path) -> list[Path]:
    """The files of weights in a folder, safetensors or else those of ``torch.save``; all shards of a model, or none."""
    return _whole(folder, "model.safetensors") or _whole(folder, "pytorch_model.bin")


def _whole(folder: Path, name: str) -> list[Path]:
    """The file of this name, or all the shards that an index beside it names."""
    if (folder / name).is_file():
        return [folder / name]
    try:
        shards = set(json.loads((folder / f"{name}.index.json").read_text())["weight_map"].values())
        files = [folder / shard for shard in sorted(shards)]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, or a damaged one
        return []
    return files if all(file.is_file() for file in files) else []


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bar, and no table of the decoder's tensors, which are left out on purpose."""
    import transformers

    logging: Any = transformers.logging
    verbosity, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bar:
            logging.enable_progress_bar()


def licence(folder: Path) -> str:
    """The ``license`` of the model card's header; the hub writes SPDX identifiers in lower case."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    header = text.split("\n---", 1)[0] if text.startswith("---") else ""
    match = re.search(r"^license:\s*[\"']?([\w.+-]+)", header, re.MULTILINE)
    return "unknown" if match is None or match[1] == "other" else match[1]
