"""Pages, followed as they stand: their Python, and their commands about videos that are at hand, in order."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from click.testing import CliRunner
from torch import Tensor

from scale_video.extract.backbones.callable_backbone import CallableBackbone
from scale_video.extract.backbones.families import register_backbone, unregister_backbone
from scale_video.extract.backbones.placement import Placement
from scale_video.extract.backbones.registry import parse_backbone
from scale_video.extract.backbones.request import BackboneRequest
from scale_video.extract.clip_decoders import ClipDecoders, DecodeLimits
from scale_video.extract.datasets.edited_videos import DemoParameters, render_demo
from scale_video.pipelines import requests
from scale_video.pipelines.cli import main
from scale_video.pipelines.cli_options import VIDEOMAE_BASE
from scale_video.pipelines.requests import ExtractionRequest

FOLLOWED: Final = (
    "README.md",
    "docs/start.md",
    "docs/own-videos.md",
    "docs/add-a-backbone.md",
    "docs/add-a-data-set.md",
    "docs/read-without-us.md",
    "docs/using-features.md",
)
LEFT_OUT: Final = {
    "docs/scaling.md": "its Python needs SLURM",
    "store/FORMAT.md": "tests/store/test_format_snippets.py runs its programs where this package is not installed",
}
"""Other pages with Python."""
NOT_DONE: Final = ("demo", "explore", "ucf101")
"""Commands that take minutes or never end, and a data set that is not here: each has tests of its own."""
QUICK: Final = {
    "plan": ("--threads", "--workers", "1", "--decoders", "1", "--no-estimate"),
    "extract": ("--threads", "--workers", "1", "--decoders", "1", "--no-estimate"),
    "pretrain": ("--epochs", "1", "--set", "pretrain.model.width=32", "--set", "pretrain.target_hidden_dim=16"),
}
"""What a command is given besides, so that it takes a moment."""
SHIPPED: Final = "motion3d-ssl"
DECODING: Final = ("embedding", "search", "strips", "clip_export", "report.video_strips")
"""Modules of ``pipelines`` that decode."""


def load_stand_in(request: BackboneRequest, placement: Placement) -> CallableBackbone:
    """Instead of a backbone whose weights are not here, or which takes seconds a clip: mean colours of four frames."""

    def mean_colours(clips: Tensor) -> Tensor:
        return clips.float().mean(dim=(2, 3)).flatten(1)

    return CallableBackbone(
        mean_colours,
        request=request,
        placement=placement,
        num_frames=4,
        frame_size=16,
        feature_dim=12,
        weights="mean colours",
    )


def test_python_of_every_page_is_run(all_code: list[Any]) -> None:
    with_python = {code.place.split(":")[0] for code in all_code if code.language == "python"}
    assert with_python - set(FOLLOWED) == set(LEFT_OUT)


@pytest.fixture(scope="module")
def _quickly() -> Iterator[None]:
    """Extract in this process, and let one process decode for all commands, since it takes seconds to start."""
    register_backbone("stand-in", load_stand_in)
    quick = partial(ExtractionRequest, processes=False, num_workers=1, num_decoders=1, estimate=False)
    with closing(ClipDecoders(DecodeLimits())) as decoders, pytest.MonkeyPatch.context() as patch:
        lent = SimpleNamespace(decode=decoders.decode, probe=decoders.probe, close=lambda: None, limits=None)
        for module in ("extract.block_task", *(f"pipelines.{name}" for name in DECODING)):
            patch.setattr(f"scale_video.{module}.ClipDecoders", lambda limits: lent)
        patch.setattr(requests, "ExtractionRequest", quick)
        yield
    unregister_backbone("stand-in")


@pytest.fixture(scope="module")
def checkout(_quickly: None, like_a_checkout: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pages speak of: the demo and its results, new files; beside it ``home`` with ``videos``."""
    root = tmp_path_factory.mktemp("followed") / "scale-video"
    like_a_checkout(root)
    render_demo(root / "data/demo", DemoParameters(num_train=24, num_test=12), num_workers=1)
    copies = {f"../home/videos/{index % 3}/{index}.mp4": "train" for index in range(12)}
    copies |= dict.fromkeys(("new.mp4", "new/1.mp4"), "test")
    for index, (copy, part) in enumerate(copies.items()):
        there = root / copy
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sorted((root / "data/demo" / part).rglob("*.mp4"))[index % 12], there)
    (root / "videos").symlink_to("../home/videos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for command in ("extract", "pretrain", "evaluate --protocols knn --no-pictures"):
            _do(command.split(), where="the demo")
    return root


@pytest.fixture
def workplace(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the checkout to work in, and of the home beside it."""
    shutil.copytree(checkout.parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / checkout.name)
    return Path.cwd()


@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_can_be_followed(
    codes_of: Callable[[str], list[Any]],
    started_by: Callable[..., list[list[str]]],
    workplace: Path,
    page: str,
) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for code in codes_of(page):
        if code.language == "python":
            exec(compile(code.text, code.place, "exec"), names)
        for line in code.commands if code.is_block else []:
            for program, *arguments in started_by(line, workplace):
                options = dict(pairwise(arguments))
                if program == "scale-video" and not {arguments[0], options.get("--dataset")} & {*NOT_DONE}:
                    _do(arguments, where=f"{code.place}: {line}")


def _do(arguments: list[str], *, where: str) -> None:
    name, *options = arguments
    if "," in dict(pairwise(options)).get("--store", ""):  # of videos that came later
        shutil.copy("new.mp4", Path("~/videos/0/new.mp4").expanduser())
    if name in ("plan", "extract") and "--dataset" in options:
        options = _with_stand_in(options)
    done = CliRunner().invoke(main, [name, *options, *QUICK.get(name, ())])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, f"{where}: {done.output}"


def _with_stand_in(options: list[str]) -> list[str]:
    """The same options, where another backbone goes by the name of the one that is asked for."""
    if "--backbone" not in options:
        options = [*options, "--backbone", VIDEOMAE_BASE]
    asked = options.index("--backbone") + 1
    name = parse_backbone(options[asked]).name
    return [*options[:asked], f"stand-in@{name}", *options[asked + 1 :]] if name != SHIPPED else options
