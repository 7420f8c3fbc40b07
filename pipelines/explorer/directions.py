"""Video vectors in half the memory: centred, of length 1, in 16 bits a number, with their lengths beside them.

Sixteen bits are whole numbers times the largest of a vector's: ten times as exact here as float16, which spends bits on
exponents that all lie close together; cosines are off by some 1e-5. Centring comes before rounding, since of a feature
of 5 ± 0.1 most of what tells videos apart would be lost: by the mean of the first vectors as they come, and by that of
all when all are there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from scale_video.evaluate.neighbours import directions

_ROWS_AT_A_TIME: Final = 8192
_MIN_LENGTH: Final = 1e-12
_LARGEST: Final = 32767


@dataclass(frozen=True, slots=True)
class Directions:
    """One part, ``x``, ``h`` or ``cls``, of the representation of N videos."""

    rows: NDArray[np.int64]
    """Of the videos in their store, ascending, shape (N,)."""
    codes: NDArray[np.int16]
    """Shape (N, D): times ``scales``, the centred vectors divided by their lengths."""
    scales: NDArray[np.float32]
    """Shape (N,)."""
    lengths: NDArray[np.float32]
    """Of the centred vectors, shape (N,)."""
    mean: NDArray[np.float32]
    """What they were centred by, shape (D,)."""

    def direction(self, place: int) -> NDArray[np.float32]:
        """That of the video at a place, shape (D,)."""
        found: NDArray[np.float32] = self.codes[place] * self.scales[place]
        return found

    def cosines_with(self, direction: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosines of all videos with a vector that is centred and of length 1, shape (N,)."""
        query = torch.from_numpy(direction)
        found = np.empty(len(self.codes), np.float32)
        for piece in _pieces(len(found)):
            found[piece] = (torch.from_numpy(self.codes[piece]).float() @ query).numpy()
        return found * self.scales


def cosines(parts: Mapping[str, Directions], by: str, place: int) -> NDArray[np.float32]:
    """Cosines of all videos with one, by a part or by several put side by side, such as ``x+cls``.

    Parts are concatenated unscaled and centred, as for our k-NN. With the cosine c of a part and the lengths a and b of
    both videos in it, that is sum(c a b) / sqrt(sum(a²) sum(b²)).

    Args:
        parts: By name, of the same N videos.
        by: Names, joined by ``+``.
        place: Which of the N videos.

    Returns:
        Shape (N,).
    """
    chosen = [parts[name] for name in by.split("+")]
    if len(chosen) == 1:
        return chosen[0].cosines_with(chosen[0].direction(place))
    products, squares = (np.zeros(len(chosen[0].rows), np.float32) for _ in range(2))
    for part in chosen:
        products += part.cosines_with(part.direction(place)) * part.lengths * part.lengths[place]
        squares += part.lengths**2
    found: NDArray[np.float32] = products / np.maximum(np.sqrt(squares * squares[place]), _MIN_LENGTH)
    return found


class DirectionsBuilder:
    """Takes vectors as they come, and centres them when all are there."""

    def __init__(self, num_videos: int) -> None:
        """Prepare for at most so many."""
        self._guess: NDArray[np.float32] | None = None
        self._codes = np.empty((0, 0), np.int16)
        self._scales = np.empty(num_videos, np.float32)
        self._rows = np.empty(num_videos, np.int64)
        self._sum: NDArray[np.float64] | float = 0.0
        self._filled = 0

    def add(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Take the vectors of some more rows, shape (n, D), n at least 1."""
        if self._guess is None:
            self._guess = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
            self._codes = np.empty((len(self._rows), vectors.shape[1]), np.int16)
        offsets = vectors - self._guess
        self._sum = self._sum + offsets.sum(axis=0, dtype=np.float64)
        piece = slice(self._filled, self._filled + len(rows))
        self._rows[piece] = rows
        self._codes[piece], self._scales[piece] = _rounded(offsets)
        self._filled = piece.stop

    def finish(self) -> Directions:
        """Centre what came, in place.

        Raises:
            ValueError: nothing came, or not in the order of rows.
        """
        if self._guess is None:
            raise ValueError("no video has features")
        there = slice(self._filled)
        rows, codes, scales = self._rows[there], self._codes[there], self._scales[there]
        if (np.diff(rows) <= 0).any():
            raise ValueError("videos must come in the order of the store, each once; make embeddings anew")
        shift = np.asarray(self._sum / self._filled, np.float32)
        lengths = np.empty(self._filled, np.float32)
        for piece in _pieces(self._filled):
            offsets = codes[piece].astype(np.float32) * scales[piece, None]
            lengths[piece] = np.linalg.norm(offsets - shift, axis=1)
            codes[piece], scales[piece] = _rounded(directions(offsets, shift, device="cpu").numpy())
        return Directions(rows, codes, scales, lengths, self._guess + shift)


def _rounded(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Whole numbers (n, D), and what they are to be multiplied by (n,)."""
    scales: NDArray[np.float32] = np.abs(vectors).max(axis=1) / np.float32(_LARGEST)
    codes = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None]).astype(np.int16)
    return codes, scales


def _pieces(num_rows: int) -> Iterator[slice]:
    """Runs of rows whose vectors a processor's cache likes."""
    return (slice(first, min(first + _ROWS_AT_A_TIME, num_rows)) for first in range(0, num_rows, _ROWS_AT_A_TIME))
