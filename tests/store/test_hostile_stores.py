"""Stores that lie: a reader ends with an error or with what is true, and takes no memory for what is merely claimed."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

READER = Path(__file__).with_name("hostile_reader.py")
NUM_MUTANTS = 100
MAX_GROWTH_MIB = 100


@pytest.mark.slow
def test_lies_are_refused_and_cost_nothing(rich_store: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, READER, rich_store, tmp_path, "0", str(NUM_MUTANTS)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes: Counter[str] = Counter()
    for line in done.stdout.splitlines():
        name, outcome, growth, seconds, message = line.split("\t")
        assert outcome in ("right", "damaged", "refused"), line
        assert int(growth) < MAX_GROWTH_MIB, line
        assert float(seconds) < 10, line
        assert (outcome == "refused") == (message != ""), line
        # What any single word of the metadata is changed to may not matter; a lie with a purpose has to be found out.
        assert outcome == "refused" or ":" in name, line
        outcomes[outcome] += 1
    assert outcomes.total() > NUM_MUTANTS + 20
    # All three occur; hardly a word of the metadata may be changed without harm, so few are read as they are.
    assert min(outcomes[outcome] for outcome in ("right", "damaged", "refused")) >= 2, outcomes
