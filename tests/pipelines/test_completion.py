"""What a shell offers behind Tab: asked as a shell asks, and in a real bash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from scale_video.evaluate.representations import REPRESENTATIONS
from scale_video.evaluate.result import PROTOCOLS
from scale_video.extract.backbones.families import families
from scale_video.extract.datasets.registry import DATASETS
from scale_video.pipelines import completions
from scale_video.pipelines.cli import main
from scale_video.pipelines.cli_completion import PROGRAM, VARIABLE
from scale_video.store.video_probe import VideoStatus, failures_named

PRESETS_FOLDER = Path(completions.__file__).parent / "presets"


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    *before, last = words
    return [item.value for item in BashComplete(main, {}, PROGRAM, VARIABLE).get_completions(before, last)]


def test_the_names_are_those_that_the_commands_know() -> None:
    assert (*PROTOCOLS, "all") == completions.PROTOCOLS
    assert (*REPRESENTATIONS, "all") == completions.REPRESENTATIONS
    assert set(completions.PRESETS) == {path.stem for path in PRESETS_FOLDER.glob("*.toml")}
    assert set(completions.DATASETS) == set(DATASETS) - {"table"}
    assert {name.rstrip(":") for name in completions.BACKBONES} == {
        name for name, family in families().items() if not family.package
    }
    assert {name for name in completions.BACKBONES if name.endswith(":")} == {
        f"{name}:" for name, family in families().items() if not family.package and family.weights == "hub"
    }
    assert failures_named(completions.STATUSES, option="--retry") == {
        VideoStatus[name.upper()] for name in completions.STATUSES
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("kn",), ["knn"]),
        (("knn", "--dataset", "kin"), ["kinetics400", "kinetics600", "kinetics700"]),
        (("evaluate", "--protocols", "knn,lin"), ["knn,linear", "knn,linear-per-clip"]),
        (("evaluate", "--protocols", "linear,linear"), ["linear,linear-per-clip"]),
        (("linear", "--representations", "x,x+c"), ["x,x+cls"]),
        (("extract", "--backbone", "motion3d,li"), ["motion3d,lite", "motion3d,lite-moments"]),
        (("extract", "--views", "random,"), ["random,augmented", "random,grid"]),
        (("extract", "--retry", "c"), ["corrupt", "crashed"]),
        (("pretrain", "--preset", "pa"), ["paper"]),
        (("table", "--protocols", "fine"), ["fine-tuning"]),
        (("failures", "x.zarr", "--status", "t"), ["timeout"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
    ],
)
def test_values_are_offered(words: tuple[str, ...], expected: list[str]) -> None:
    assert offered(*words) == expected


def test_a_preset_may_be_a_file_and_a_store_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [item] = BashComplete(main, {}, PROGRAM, VARIABLE).get_completions(["knn", "--preset"], "./mine")
    assert (item.type, item.value) == ("file", "./mine")
    [item] = BashComplete(main, {}, PROGRAM, VARIABLE).get_completions(["info"], "fea")
    assert (item.type, item.value) == ("dir", "fea")
    for name in ("b", "a"):
        (tmp_path / f"features/{name}.zarr").mkdir(parents=True)
    assert offered("info", "") == ["features/a.zarr", "features/b.zarr"]
    assert offered("knn", "--store", "features/b") == ["features/b.zarr"]


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o"), ("zsh", "#compdef scale-video"), ("fish", "complete ")]
)
def test_scripts_ask_this_program(shell: str, mark: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert mark in result.stdout
    assert f"{VARIABLE}={shell}_complete" in result.stdout


def test_in_bash() -> None:
    script = CliRunner().invoke(main, ["completion", "bash"]).stdout
    program = Path(sys.executable).with_name(PROGRAM)
    ask = f"""{script}
    COMP_WORDS=({PROGRAM} evaluate --protocols knn,fi); COMP_CWORD=3
    _scale_video_completion {PROGRAM}; echo "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    result = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.strip() == "knn,fine-tuning"


def test_nothing_heavy_is_imported_while_a_user_waits() -> None:
    script = (
        "import os, sys\n"
        f"os.environ.update({VARIABLE}='bash_complete', COMP_WORDS='s extract --backbone mot', COMP_CWORD='3')\n"
        "from scale_video.pipelines.cli import main\n"
        "try: main(prog_name='scale-video')\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'av', 'zarr', 'dask', 'numpy', 'rich') if name in sys.modules])\n"
    )
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["plain,motion3d", "plain,motion3d-ssl", "[]"]
