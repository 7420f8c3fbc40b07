"""``scale-video doctor``: whether this machine has what the commands need, and what to install or change if not."""

from collections.abc import Callable
from dataclasses import dataclass

from scale_video.pipelines import doctor_hub, doctor_machine, doctor_packages, doctor_store, doctor_video
from scale_video.pipelines.finding import Finding, or_broken


@dataclass(frozen=True, slots=True)
class DoctorRequest:
    """What is to be looked at besides the machine itself."""

    store: str | None = None
    """Path or URL, of a store or of where one is to be."""
    write: bool = False
    """Whether to try writing there."""
    network: bool = False
    """Whether to ask the hub; nothing else goes beyond this machine and the store."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, in the order in which they are shown."""

    healthy: bool
    """Whether nothing that is needed is broken."""
    findings: tuple[Finding, ...]


def run_doctor(request: DoctorRequest) -> Diagnosis:
    """Look at everything; what fails becomes a finding.

    Raises:
        ValueError: writing is asked for, and no place is named.
    """
    if request.write and request.store is None:
        raise ValueError("--write needs --store: where to write")
    checks: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("packages", doctor_packages.look_at_packages),
        ("extras", doctor_packages.look_at_extras),
        ("machine", doctor_machine.look_at_machine),
        ("GPU", doctor_machine.look_at_gpus),
        ("video", doctor_video.look_at_video),
        ("hub", lambda: doctor_hub.look_at_hub(network=request.network)),
    ]
    if request.store is not None:
        url = request.store
        checks.append(("store", lambda: doctor_store.look_at_store(url, write=request.write)))
    findings: list[Finding] = []
    for topic, look in checks:
        with or_broken(findings, topic, "this check", advice="mend what it says; if it says nothing, report it"):
            findings += look()
    return Diagnosis(
        healthy=all(finding.state != "broken" for finding in findings),
        findings=tuple(findings),
    )
