"""Every command of README, docs/ and FORMAT.md is understood: by the shell, by make, and by the options there are."""

import importlib.util
import re
import tomllib
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml

from scale_video.evaluate.representations import REPRESENTATIONS
from scale_video.evaluate.result import PROTOCOLS
from scale_video.pipelines.cli import main
from scale_video.pipelines.preset import default_preset, load_preset

REPOSITORY: Final = Path(__file__).parents[2]
OPTIONS_OF_OTHERS: Final = {
    "--lifetime": "dask worker",
    "--no-dashboard": "dask scheduler",
    "--nthreads": "dask worker",
    "--signal": "sbatch",
}


def test_every_command_is_understood(
    codes_of: Callable[[str], list[Any]],
    started_by: Callable[[str], list[list[str]]],
    elsewhere: dict[str, str],
    understood: Callable[[list[str]], None],
    any_page: str,
) -> None:
    incomplete = (click.MissingParameter, click.BadOptionUsage)  # `scale-video embed` in a sentence is none to be run
    for code in codes_of(any_page):
        for line in code.commands:
            with _told(f"{code.place}: {line}"):
                calls = started_by(line)
                quiet = line == "make help" or line.startswith("mkdir") or any(name in line for name in elsewhere)
                assert calls or quiet, "nothing is started"
                for call in calls:
                    with nullcontext() if code.is_block else suppress(*incomplete):
                        understood(call)


@pytest.fixture
def understood(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Give arguments to the command line, whose commands do nothing but look at them."""
    for command in main.commands.values():
        monkeypatch.setattr(command, "callback", _look)
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                monkeypatch.setattr(parameter.type, "exists", False)

    def understand(call: list[str]) -> None:
        program, *arguments = call
        if program == "scale-video":
            main.main(["extract" if word == "COMMAND" else word for word in arguments], standalone_mode=False)
        elif program == "python" and arguments[0] == "-m":
            assert importlib.util.find_spec(arguments[1]), f"no module {arguments[1]}"
        elif program == "python":
            text = (REPOSITORY / arguments[0]).read_text()
            for option in filter(lambda argument: argument.startswith("--"), arguments):
                assert f'"{option}"' in text, f"{arguments[0]} has no {option}"

    return understand


def _look(**given: Any) -> None:
    """What a command would refuse later: keys of a preset, and names of protocols and representations."""
    if "overrides" in given:
        dataset = given.get("dataset", "demo").split(",")[0]
        preset = given.get("preset") or default_preset(dataset)
        load_preset("honest" if preset.endswith(".toml") else preset, dataset=dataset, overrides=given["overrides"])
    assert set(given.get("protocols") or ()) <= {*PROTOCOLS, "all"}
    assert set(given.get("representations") or ()) <= {*REPRESENTATIONS, "all"}


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Say where a line stands that is not right."""
    try:
        yield
    except click.ClickException as error:
        raise AssertionError(f"{where}: {error.format_message()}") from None
    except (AssertionError, OSError, ValueError) as error:
        raise AssertionError(f"{where}: {error}") from None


def test_a_wrong_command_is_found(
    started_by: Callable[[str], list[list[str]]], understood: Callable[[list[str]], None]
) -> None:
    for line, message in {
        "make knn DATASET=demo ARGS=--no-such-option": "No such option",
        "scale-video extractt": "No such command",
        "scale-video pretrain --set pretrain.epoch=3": "unknown key 'epoch'",
        "scale-video evaluate --protocols knn,svm": "svm",
        "make no-such-target": "No rule to make target",
        "python benchmarks/bench_job.py --no-such-option": "has no --no-such-option",
    }.items():
        with pytest.raises(AssertionError, match=message), _told(line):  # noqa: PT012 - either may find it
            for call in started_by(line):
                understood(call)


def test_no_program_is_left_out_without_need(all_code: list[Any], elsewhere: dict[str, str]) -> None:
    lines = [line for code in all_code if code.is_block for line in code.commands]
    assert {name for name in elsewhere if any(re.search(rf"(^|[ =]){name} ", line) for line in lines)} == set(elsewhere)


def test_every_option_that_is_named_exists(all_code: list[Any]) -> None:
    ours = {name for command in main.commands.values() for option in command.params for name in option.opts}
    ours |= {name for command in main.commands.values() for option in command.params for name in option.secondary_opts}
    ours |= {"--help", "--debug", "--version"}
    scripts = "".join(path.read_text() for path in (REPOSITORY / "benchmarks").glob("bench_*.py"))
    named = {
        word: code.place for code in all_code if not code.is_block for word in re.findall(r"^--[a-z-]+", code.text)
    }
    unknown = {name: place for name, place in named.items() if name not in ours and f'"{name}"' not in scripts}
    assert unknown.keys() == OPTIONS_OF_OTHERS.keys(), unknown


def test_every_extra_that_is_named_exists(all_code: list[Any]) -> None:
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    named = {extra for code in all_code for extra in re.findall(r"scale-video\[(\w+)\]", code.text)}
    assert {"s3", "parquet", "lite"} < named
    assert named <= set(setup["options.extras_require"])


def test_toml_and_yaml_can_be_read(all_code: list[Any]) -> None:
    texts = [code.text for code in all_code if code.language == "toml"]
    assert all(map(tomllib.loads, texts))
    documents = [list(yaml.safe_load_all(code.text)) for code in all_code if code.language == "yaml"]
    assert [len(parts) for parts in documents] == [3, 1]  # Kubernetes; TLS of Dask
    assert {code.language for code in all_code if code.is_block} <= {"", "sh", "python", "toml", "yaml"}
