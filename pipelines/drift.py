"""How far recomputed features are from the stored ones."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClipDrift:
    """One clip that was computed again."""

    path: str
    row: int
    clip: int
    distance: float
    """1 - cosine of the stored and the recomputed feature, 0 … 2."""
    file_changed: bool
    """Whether the file's content is another than when the store was planned."""


@dataclass(frozen=True, slots=True)
class TargetDrift:
    """How one backbone in one view fared."""

    features: str
    """``<view>/<backbone>``."""
    num_clips: int
    """Clips compared."""
    num_videos: int
    median: float
    """Cosine distances; NaN when no clip was compared."""
    largest: float
    num_missing: int
    """Clips whose file is not there."""
    num_undecodable: int
    """Clips with a feature that cannot be decoded any more."""
    first_error: str
    """Path and reason of the first of these; empty when there is none."""
    worst: tuple[ClipDrift, ...]
    """Farthest first; only those beyond the tolerance, or the farthest one."""


@dataclass(frozen=True, slots=True)
class DriftReport:
    """All of them."""

    tolerance: float
    targets: tuple[TargetDrift, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not as it should be, in words."""
        lines = []
        for drift in self.targets:
            if drift.largest > self.tolerance:
                lines.append(f"{drift.features}: a feature is {drift.largest:.1e} from what its clip gives")
            if drift.num_undecodable:
                lines.append(
                    f"{drift.features}: {drift.num_undecodable} clips with a feature cannot be decoded any more, "
                    f"the first of {drift.first_error}"
                )
            if not drift.num_clips:
                lines.append(f"{drift.features}: no clip could be compared")
        return tuple(lines) or (() if self.targets else ("there are no features to compare",))

    @property
    def sound(self) -> bool:
        """Whether every compared feature is what its clip gives; files that are missing say nothing."""
        return not self.problems
