"""How a diagnosis looks on stdout."""

from collections import Counter
from itertools import groupby
from typing import Final

from rich.table import Table
from rich.text import Text

from scale_video.pipelines.console import legible, print_whole, stdout
from scale_video.pipelines.doctor import Diagnosis
from scale_video.pipelines.finding import State

_STYLES: Final[dict[State, str]] = {"ok": "green", "warning": "yellow", "missing": "cyan", "broken": "bold red"}


def diagnosis(found: Diagnosis) -> None:
    """Print the findings under their topics, each with its advice beneath, then how many of each kind there are."""
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(overflow="fold")
    for topic, findings in groupby(found.findings, key=lambda finding: finding.topic):
        table.add_row(Text(topic, style="bold"))
        for finding in findings:
            state = Text(f"  {finding.state}", style=_STYLES[finding.state])
            table.add_row(state, Text(legible(finding.name)), Text(legible(finding.found)))
            if finding.advice:
                table.add_row("", "", Text(legible(f"→ {finding.advice}")))
    print_whole(table)
    counts = Counter(finding.state for finding in found.findings)
    summary = ", ".join(f"{counts[state]} {state}" for state in _STYLES if counts[state])
    verdict = "nothing that is needed is broken" if found.healthy else "something that is needed is broken"
    stdout().print(Text(f"{summary}: {verdict}"))
