"""The journal of a pre-training run, ``training.jsonl`` in its folder: when it ran, on what, for how long.

A training that was interrupted goes on in another call, maybe on another device: each call has lines of its own. What
writes them is in ``training_notes.py``, since it needs Lightning, and whoever reads them does not.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from scale_video.pipelines.journal_file import read_events

JOURNAL_NAME: Final = "training.jsonl"


@dataclass(frozen=True, slots=True)
class TrainingBegan:
    """A call begins to train, or goes on with what another one began."""

    call: str
    """Tells its lines from those of others."""
    time: str
    """UTC."""
    device: str
    """What it is called."""
    num_devices: int
    """Of all nodes."""
    residency: str
    """Where features lived: ``device``, ``memory`` or ``stream``."""
    precision: str
    compile: str
    steps_before: int
    """0 where training began anew."""


@dataclass(frozen=True, slots=True)
class TrainingEnded:
    """A call ends, in whatever way leaves time to say so."""

    call: str
    time: str
    seconds: float
    """Of this call, from the first step to the last checkpoint."""
    steps: int
    """Of this call."""
    sets: int
    """Sets of clips that it trained on."""
    how: str
    """``complete``, ``interrupted`` or ``failed``."""
    error: str
    """One line; empty where nothing went wrong."""


@dataclass(frozen=True, slots=True)
class TrainingCall:
    """All that is known of a call."""

    began: TrainingBegan
    ended: TrainingEnded | None = None
    """None while it is at work, and when it was killed."""


def read_training_journal(folder: Path) -> tuple[TrainingCall, ...]:
    """The calls that made up the training of a run folder, since it was last begun anew; none where no journal is.

    Raises:
        OSError: it is there, but cannot be read.
    """
    calls: dict[str, TrainingCall] = {}
    for event in read_events(folder / JOURNAL_NAME, (TrainingBegan, TrainingEnded)):
        match event:
            case TrainingBegan():
                calls = {**(calls if event.steps_before else {}), event.call: TrainingCall(event)}
            case TrainingEnded() if event.call in calls:
                calls[event.call] = replace(calls[event.call], ended=event)
    return tuple(calls.values())
