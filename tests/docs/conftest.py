"""The pages of the documentation taken apart, and what a shell makes of their commands."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from markdown_it import MarkdownIt

REPOSITORY: Final = Path(__file__).parents[2]
_FILES = (REPOSITORY / "README.md", REPOSITORY / "store/FORMAT.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
PAGES: Final = tuple(str(file.relative_to(REPOSITORY)) for file in _FILES)
OURS: Final = ("make", "scale-video", "python", "for", "mkdir")
ELSEWHERE: Final = {
    "curl": "fetches 7 GB",
    "dask": "starts a cluster; tests/pipelines/test_remote_cluster.py has one",
    "git": "whose repository it is is the reader's choice",
    "openssl": "tests/pipelines/test_remote_cluster.py makes a certificate by it",
    "srun": "needs SLURM",
    "torchrun": "needs two machines; tests/pipelines/test_pretraining_on_several.py has ranks",
    "unrar": "unpacks what was fetched",
    "unzip": "likewise",
}
"""Programs that are not started, each with the reason; what of ours stands behind them in a line is."""
_OF_A_CHECKOUT = ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt", "benchmarks")
_RECORDED = ("scale-video", "python", "pip", "ruff", "mypy", "lint-imports", "sphinx-build", "jq")
_RECORDER = """#!/bin/sh
printf '%s\\0' "${0##*/}" "$@" >> "$RECORD"
printf '\\036\\0' >> "$RECORD"
"""
_MAKE = """#!/bin/sh
PATH=/usr/bin:/bin exec make --silent BIN="${0%/*}" READY="${0%/*}/ready" "$@"
"""


@dataclass(frozen=True, slots=True)
class Code:
    """A block of code of a page, or a piece within a line."""

    place: str
    """Page and line; of a piece, the line where its paragraph begins."""
    language: str
    """What the fence says; empty for an indented block."""
    text: str
    is_block: bool

    @property
    def commands(self) -> list[str]:
        """Those for a shell, if it is of that kind; a backslash at the end of a line goes on."""
        if not self.is_block:
            return [self.text] if self.text.startswith(tuple(f"{program} " for program in OURS)) else []
        lines = self.text.replace("\\\n", " ").splitlines() if self.language in {"", "sh"} else []
        return [line for line in lines if program_of(line) in (*OURS, *ELSEWHERE)]


def program_of(line: str) -> str:
    """What a line starts, behind the variables that it sets; empty where it is not of a shell."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return ""
    return next((word for word in words if not re.match(r"[A-Z_]+=", word)), "")


@pytest.fixture(scope="session")
def codes_of() -> Callable[[str], list[Code]]:
    """All code of a page in its order, but for directives of the site."""
    markdown = MarkdownIt("commonmark").enable("table")

    def read(page: str) -> list[Code]:
        found = []
        for token in markdown.parse((REPOSITORY / page).read_text()):
            place = f"{page}:{token.map[0] + 1}" if token.map else page
            if token.type in {"fence", "code_block"} and not token.info.startswith("{"):
                found.append(Code(place, token.info, token.content, is_block=True))
            pieces = [child for child in token.children or [] if child.type == "code_inline"]
            found += [Code(place, "", piece.content, is_block=False) for piece in pieces]
        return found

    return read


@pytest.fixture(scope="session")
def all_code(codes_of: Callable[[str], list[Code]]) -> list[Code]:
    """Of all pages."""
    return [code for page in PAGES for code in codes_of(page)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes ``any_page`` is done for each."""
    if "any_page" in metafunc.fixturenames:
        metafunc.parametrize("any_page", PAGES)


@pytest.fixture(scope="session")
def elsewhere() -> dict[str, str]:
    """Programs that are not started, and why."""
    return ELSEWHERE


@pytest.fixture(scope="session")
def like_a_checkout() -> Callable[[Path], None]:
    """Make a folder with what make reads."""

    def make(folder: Path) -> None:
        folder.mkdir()
        for name in _OF_A_CHECKOUT:
            (folder / name).symlink_to(REPOSITORY / name)

    return make


@pytest.fixture(scope="session")
def started_by(
    like_a_checkout: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[list[str]]]:
    """What bash and make turn a line into: the programs that it starts, each with its arguments; none is run.

    By default in a folder where nothing is but what make reads, with a home beside it.
    """
    bare = tmp_path_factory.mktemp("docs") / "bare"
    like_a_checkout(bare)
    (bare.parent / "home/.config/fish/completions").mkdir(parents=True)
    stubs = bare.parent / "stubs"
    stubs.mkdir()
    for name, text in {**dict.fromkeys(_RECORDED, _RECORDER), "make": _MAKE, "ready": ""}.items():
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    record = stubs / "record"
    environment = {**os.environ, "PATH": f"{stubs}:/usr/bin:/bin", "RECORD": str(record)}

    def start(line: str, folder: Path = bare) -> list[list[str]]:
        if program_of(line) in ELSEWHERE:
            line = "".join(re.findall(r"(?<= )scale-video .*", line))
        record.write_text("")
        command = ["bash", "-e", "-c", re.sub(r"\s…(?=\s|$)", "", line)]  # whatever else one says
        done = subprocess.run(
            command,
            cwd=folder,
            env={**environment, "HOME": str(folder.parent / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [call.split("\0") for call in record.read_text().split("\0\036\0")[:-1]]

    return start
