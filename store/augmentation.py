"""What is done to the colours and the sharpness of a clip, as numbers that are drawn before any pixel is decoded.

``FORMAT.md`` defines the operations; ``extract/augmented_pixels.py`` performs them.
"""

from enum import IntEnum


class Augmentation(IntEnum):
    """The columns of a view's ``augmentation``, in the order of the store."""

    BRIGHTNESS = 0
    """Factor on all levels; 1 leaves them."""
    CONTRAST = 1
    """Factor on the distance to the frame's mean grey; 1 leaves it."""
    SATURATION = 2
    """Factor on the distance to each pixel's own grey; 1 leaves it."""
    HUE = 3
    """Turns of the colour circle; 0 leaves it."""
    BRIGHTNESS_STEP = 4
    """Which of the four comes first: 0; the steps of a clip are 0, 1, 2 and 3 in some order."""
    CONTRAST_STEP = 5
    SATURATION_STEP = 6
    HUE_STEP = 7
    GREY = 8
    """1 when the clip loses its colours after these, else 0."""
    BLUR = 9
    """Standard deviation of a Gaussian blur, as a fraction of the frame's side; 0 for none. It comes last."""


AUGMENTATION_NAMES = tuple(parameter.name.lower() for parameter in Augmentation)
