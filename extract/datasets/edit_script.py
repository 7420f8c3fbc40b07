"""What an edited video shows: a motion and then another one, each in two or three shots.

Everything but the motion is drawn anew for every shot. So a frame tells nothing of the class, a clip seldom more than
one of the two motions, and a mean over clips not their order: on ``demo``, a representation blind to order gets at most
half of the videos right. ``demo-hard`` takes motions that a horizontal flip confuses. ``demo-control`` has the same
kind of videos with classes that leave out the order: what a mean over clips can tell.
"""

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np

from scale_video.extract.datasets.render_shots import FRAMES_PER_SECOND, Motion, Shot, draw_shot

_STEADY: Final = (Motion.UP, Motion.DOWN, Motion.GROW, Motion.SHRINK)
"""Motions that survive a horizontal flip."""
_SHIFTS: Final = (Motion.LEFT, Motion.RIGHT, Motion.UP, Motion.DOWN)

VARIANTS: Final[dict[str, dict[str, tuple[tuple[Motion, Motion], ...]]]] = {
    "demo": {f"{a}-{b}": ((a, b),) for a, b in itertools.permutations(_STEADY, 2)},
    "demo-hard": {f"{a}-{b}": ((a, b),) for a, b in itertools.permutations(_SHIFTS, 2)},
    "demo-control": {f"{a}-and-{b}": ((a, b), (b, a)) for a, b in itertools.combinations(_STEADY, 2)},
}
"""For each variant and class, the pairs of motions, before and after the change, that its videos show in turn."""


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """One video; all of it follows from these four."""

    variant: str
    """One of ``VARIANTS``."""
    seed: int
    """Data seed, at least 0."""
    split: str
    """``train`` or ``test``: they have separate textures."""
    index: int
    """Position in the split, from 0."""

    @property
    def class_index(self) -> int:
        """Classes take turns, so that their sizes differ by one at most."""
        return self.index % len(VARIANTS[self.variant])

    @property
    def motions(self) -> tuple[Motion, Motion]:
        """What it shows before and after the change; within a class, pairs take turns."""
        classes = list(VARIANTS[self.variant].values())
        pairs = classes[self.class_index]
        return pairs[self.index // len(classes) % len(pairs)]

    @property
    def relative_path(self) -> str:
        """``<split>/<class>/<index>.mp4``."""
        class_name = list(VARIANTS[self.variant])[self.class_index]
        return f"{self.split}/{class_name}/{self.index:05d}.mp4"


def draw_video(spec: VideoSpec) -> tuple[Shot, ...]:
    """Draw the shots of a video: 4 to 6 s, with the change of motion at .38 to .62 of it."""
    generator = np.random.default_rng([spec.seed, *f"{spec.variant}/{spec.split}/{spec.index}".encode()])
    num_frames = round(generator.uniform(4, 6) * FRAMES_PER_SECOND)
    num_before = round(generator.uniform(0.38, 0.62) * num_frames)
    return tuple(
        draw_shot(generator, motion, num_frames=num_shot_frames)
        for motion, num_phase_frames in zip(spec.motions, (num_before, num_frames - num_before), strict=True)
        for num_shot_frames in _cut(generator, num_phase_frames)
    )


def _cut(generator: np.random.Generator, num_frames: int) -> list[int]:
    """Cut frames into two or three shots; the longest is at most 1.3 / .7 times the shortest."""
    weights = generator.uniform(0.7, 1.3, size=generator.integers(2, 4))
    ends = np.rint(np.cumsum(weights) / weights.sum() * num_frames).astype(int)
    return [int(length) for length in np.diff(ends, prepend=0)]
