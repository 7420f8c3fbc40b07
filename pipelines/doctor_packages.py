"""Which packages are installed, whether in the ranges that this release names, and which extras are not there."""

import platform
import time
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from scale_video.pipelines.code_version import git_revision
from scale_video.pipelines.finding import Finding, State

PROGRAM: Final = "scale-video"
SETTINGS: Final = Path(__file__).resolve().parents[1] / "setup.cfg"
"""Of a checkout."""
PURPOSES: Final = {
    "transformers": "backbones of the Hugging Face hub",
    "lite": "real features without a hub or a GPU",
    "report": "`report` and `explore`",
    "pictures": "pictures of an evaluation",
    "parquet": "tables and embeddings in Parquet",
    "s3": "stores on S3",
    "tensorboard": "pretrain --tensorboard",
    "docs": "the documentation's pages",
    "bench": "the peers of the benchmarks",
    "test": "the tests",
}
"""What each extra is for, in the order in which users need them; others follow."""
ALIASES: Final = ("videomae",)
"""Older names of extras."""


def look_at_packages() -> list[Finding]:
    """Python, this program, and each package that it cannot do without."""
    findings = [Finding("packages", "python", "ok", platform.python_version()), _look_at_program()]
    for requirement in _requirements():
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            state, found, advice = _compare(requirement)
            findings.append(Finding("packages", requirement.name, state, found, advice))
    return findings


def look_at_extras() -> list[Finding]:
    """Each extra: whether all of its packages are here."""
    known = distribution(PROGRAM).metadata.get_all("Provides-Extra") or []
    names = [name for name in PURPOSES if name in known]
    return [_look_at_extra(name) for name in (*names, *(name for name in known if name not in (*names, *ALIASES)))]


def _look_at_program() -> Finding:
    revision = git_revision()
    found = version(PROGRAM) + (f", revision {revision}" if revision else "")
    if revision and SETTINGS.stat().st_mtime > _installed_at():
        advice = "the ranges that are compared here are older ones: `make setup`, or pip install -e ."
        return Finding("packages", PROGRAM, "warning", f"{found}; setup.cfg is newer than the installation", advice)
    return Finding("packages", PROGRAM, "ok", found)


def _installed_at() -> float:
    """Time of the metadata that pip wrote; now where that lies in no file."""
    metadata = next((file for file in distribution(PROGRAM).files or () if file.name == "METADATA"), None)
    return Path(str(metadata.locate())).stat().st_mtime if metadata is not None else time.time()


def _look_at_extra(name: str) -> Finding:
    of_extra = [
        requirement
        for requirement in _requirements()
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": name})
        and not requirement.marker.evaluate({"extra": ""})
    ]
    compared = {requirement.name: _compare(requirement) for requirement in of_extra}
    absent = [package for package, (state, _, _) in compared.items() if state == "broken"]
    unfit = [f"{package} {found}" for package, (state, found, _) in compared.items() if state == "warning"]
    purpose = PURPOSES.get(name, "")
    if not absent and not unfit:
        return Finding("extras", name, "ok", purpose)
    advice = f"pip install '{PROGRAM}[{name}]'" + (f", for {purpose}" if purpose else "")
    if absent:
        return Finding("extras", name, "missing", f"not installed: {', '.join(absent)}", advice)
    return Finding("extras", name, "warning", ", ".join(unfit), advice)


def _compare(requirement: Requirement) -> tuple[State, str, str]:
    """What is installed of a package, beside what is wanted: state, what was found, advice."""
    wanted = f"{requirement.name}{requirement.specifier}"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return "broken", "not installed", f"pip install '{wanted}'"
    if requirement.specifier.contains(found, prereleases=True):
        return "ok", found, ""
    return "warning", f"{found}, where {requirement.specifier} is wanted", f"pip install '{wanted}'"


def _requirements() -> list[Requirement]:
    """What the installed release says that it needs, extras too: the ranges of setup.cfg."""
    return [Requirement(text) for text in distribution(PROGRAM).requires or []]
