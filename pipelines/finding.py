"""What a check of this machine found, and what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "missing", "broken"]
"""``missing``: something optional is not here. ``broken``: something needed does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis."""

    topic: str
    """Heading that it stands under."""
    name: str
    state: State
    found: str
    """What is there."""
    advice: str = ""
    """What to do; empty where nothing needs to be done."""


@contextmanager
def or_broken(
    findings: list[Finding], topic: str, name: str, *, advice: str, state: State = "broken"
) -> Iterator[None]:
    """Make a finding of whatever goes wrong in the block: a diagnosis must not end at the first thing that is ill.

    Args:
        findings: where it goes.
        topic: of the finding.
        name: likewise.
        advice: what to do if something does.
        state: what it means then.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        findings.append(Finding(topic, name, state, reason, advice))
