"""What a call of ``plan`` or ``extract`` asks of its views beyond the preset: clips, spans, sizes."""

from dataclasses import dataclass, replace
from typing import Any, Final

from scale_video.extract.views import GridView, View

PAPER_FRAMES: Final = 16
PAPER_STRIDE: Final = 4
PAPER_RATE: Final = 30.0


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """Changes to every view of a call; None leaves what the preset says."""

    num_clips: int | None = None
    """Clips of every video, in the views that draw them at random."""
    num_frames: int | None = None
    """Frames of a clip; with the next two it says the span: ``num_frames * stride / rate`` seconds."""
    stride: int | None = None
    """Frames from one to the next."""
    rate: float | None = None
    """Frames a second that the stride counts in, whatever the videos have."""
    grid_size: int | None = None
    """Pixels of the short side in the grid, and of its square crops."""
    clips_per_minute: float | None = None
    """Clips by the duration of a video."""
    max_clips: int | None = None
    """The most of these: the width of the store's arrays."""

    def __post_init__(self) -> None:
        """Check that the options go together.

        Raises:
            ValueError: one without the other, or two that contradict each other.
        """
        if (self.clips_per_minute is None) != (self.max_clips is None):
            raise ValueError("--clips-per-minute and --max-clips go together: the most clips are the arrays' width")
        if self.clips_per_minute is not None and self.num_clips is not None:
            raise ValueError("--clips asks for as many of every video, --clips-per-minute by duration; choose one")

    @property
    def span_seconds(self) -> float | None:
        """From a clip's first sample time to one frame after its last; None where none of the three is given.

        >>> ViewOptions(num_frames=16, stride=2, rate=30).span_seconds
        1.0666666666666667
        """
        if self.num_frames is self.stride is self.rate is None:
            return None
        return (self.num_frames or PAPER_FRAMES) * (self.stride or PAPER_STRIDE) / (self.rate or PAPER_RATE)

    def apply(self, view: View) -> View:
        """The view with these changes.

        Raises:
            ValueError: a value that the view does not take.
        """
        changes: dict[str, Any] = {"span_seconds": self.span_seconds, "clips_per_minute": self.clips_per_minute}
        if isinstance(view, GridView):
            changes |= {"short_side": self.grid_size, "nominal_size": self.grid_size}
            if self.max_clips is not None:
                changes["num_times"] = max(1, self.max_clips // view.num_places)
        else:
            changes["num_clips"] = self.num_clips or self.max_clips
        return replace(view, **{name: value for name, value in changes.items() if value is not None})
