"""One shot's pixels: a textured object moves over a panning background, lit and noisy.

A shot is data first (``Shot``, drawn from a generator) and pixels second (``render_shot``, a pure function), so that a
test can ask for the same shot without noise and see whether it moves as it says. All motions are one motion with other
numbers: a velocity, a zoom and a turn. Only elementwise NumPy is used, whose result does not depend on threads.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scale_video.extract.datasets.texture_bank import TEXTURE_SIZE, TEXTURES_PER_BANK

Floats = NDArray[np.floating[Any]]
"""Arrays between a shot and its pixels; all are float32 when it is painted, but the types of NumPy do not say so."""

FRAME_SIZE: Final = 64
"""Pixels of the square frame: a multiple of 16, h264's block."""
FRAMES_PER_SECOND: Final = 16
NUM_SHAPES: Final = 4
TEXELS_PER_RADIUS: Final = 20.0


class Motion(StrEnum):
    """What the object of a shot does; turns are as seen on the screen."""

    LEFT = "left"
    RIGHT = "right"
    UP = "up"
    DOWN = "down"
    GROW = "grow"
    SHRINK = "shrink"
    CLOCKWISE = "cw"
    COUNTERCLOCKWISE = "ccw"


_DIRECTIONS: Final = {Motion.LEFT: (-1, 0), Motion.RIGHT: (1, 0), Motion.UP: (0, -1), Motion.DOWN: (0, 1)}


@dataclass(frozen=True, slots=True)
class Surface:
    """A texture with its colours: ``colour + tint * texture``."""

    texture: int
    """Index into the bank."""
    offset: tuple[float, float]
    """Texel (x, y) at the surface's origin."""
    colour: tuple[float, float, float]
    """RGB in grey levels, 0 to 255."""
    tint: tuple[float, float, float]
    """RGB in grey levels per standard deviation of the texture."""


@dataclass(frozen=True, slots=True)
class Shot:
    """Everything a shot's pixels follow from, but its textures; x to the right, y down, in pixels and seconds."""

    num_frames: int
    background: Surface
    pan: tuple[float, float]
    """Velocity of the background, pixels per second."""
    object: Surface
    shape: int
    """0 disc, 1 square, 2 triangle, 3 cross."""
    centre: tuple[float, float]
    """Place of the object, half-way through the shot; so are radius and angle."""
    velocity: tuple[float, float]
    """Pixels per second."""
    radius: float
    """Pixels."""
    zoom: float
    """Growth of the logarithm of the radius per second."""
    angle: float
    """Radians, clockwise on the screen."""
    turn: float
    """Radians per second, clockwise on the screen."""
    gain: float
    """Factor on all grey levels, half-way through the shot."""
    ramp: float
    """Change of ``gain`` per second."""
    noise: float
    """Standard deviation in grey levels, the same for the three colours of a pixel."""
    noise_seed: int


def draw_shot(generator: np.random.Generator, motion: Motion, *, num_frames: int) -> Shot:
    """Draw a shot with the given motion; all else is random, so that nothing else tells the motion."""
    pan_direction = generator.uniform(0, 2 * np.pi)
    pan_speed = generator.uniform(0, 12)
    velocity = generator.normal(0, 1.5, size=2)
    zoom = turn = 0.0
    if motion in _DIRECTIONS:
        x, y = _DIRECTIONS[motion]
        speed = generator.uniform(14, 26)
        # The drift is off the axis only: along it, the speed is as drawn.
        velocity = speed * np.array([x, y]) + velocity * np.array([abs(y), abs(x)])
    elif motion in (Motion.GROW, Motion.SHRINK):
        zoom = generator.uniform(0.5, 0.9) * (1 if motion == Motion.GROW else -1)
    else:
        turn = generator.uniform(1.5, 3.0) * (1 if motion == Motion.CLOCKWISE else -1)
    return Shot(
        num_frames=num_frames,
        background=_draw_surface(generator),
        pan=(float(pan_speed * np.cos(pan_direction)), float(pan_speed * np.sin(pan_direction))),
        object=_draw_surface(generator),
        shape=int(generator.integers(NUM_SHAPES)),
        centre=(float(generator.uniform(24, 40)), float(generator.uniform(24, 40))),
        velocity=(float(velocity[0]), float(velocity[1])),
        radius=float(generator.uniform(9, 15)),
        zoom=float(zoom),
        angle=float(generator.uniform(0, 2 * np.pi)),
        turn=float(turn),
        gain=float(generator.uniform(0.75, 1.2)),
        ramp=float(generator.uniform(-0.25, 0.25)),
        noise=4.0,
        noise_seed=int(generator.integers(2**63)),
    )


def _draw_surface(generator: np.random.Generator) -> Surface:
    """Draw a texture, where it starts, and its colours."""
    x, y = generator.uniform(0, TEXTURE_SIZE, size=2)
    red, green, blue = generator.uniform(70, 185, size=3)
    tint_red, tint_green, tint_blue = generator.uniform(15, 35, size=3)
    return Surface(
        texture=int(generator.integers(TEXTURES_PER_BANK)),
        offset=(float(x), float(y)),
        colour=(float(red), float(green), float(blue)),
        tint=(float(tint_red), float(tint_green), float(tint_blue)),
    )


def render_shot(shot: Shot, bank: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Paint a shot.

    Args:
        shot: What to paint.
        bank: ``texture_bank(...)``.

    Returns:
        RGB frames, shape (num_frames, FRAME_SIZE, FRAME_SIZE, 3).
    """
    seconds = ((np.arange(shot.num_frames) - (shot.num_frames - 1) / 2) / FRAMES_PER_SECOND).astype(np.float32)
    # Colours come first until the end: NumPy is three times as fast when the last axis is long.
    planes = _paint_background(shot, bank[shot.background.texture], seconds)  # (3, F, H, W)
    _paint_object(planes, shot, bank[shot.object.texture], seconds)
    planes *= (shot.gain + shot.ramp * seconds)[:, None, None]
    planes += _draw_noise(shot, planes.shape[1:])
    frames = np.empty((*planes.shape[1:], 3), np.uint8)
    np.clip(planes, 0, 255, out=np.moveaxis(frames, -1, 0), casting="unsafe")
    return frames


def _draw_noise(shot: Shot, shape: tuple[int, ...]) -> Floats:
    """Draw nearly normal noise: the sum of four random bytes, a fifth of the cost of normal deviates."""
    generator = np.random.default_rng(shot.noise_seed)
    total = generator.integers(256, size=(4, *shape), dtype=np.uint8).sum(axis=0, dtype=np.float32)
    # A byte has mean 255 / 2 and variance (256^2 - 1) / 12.
    scale = np.float32(shot.noise / np.sqrt(4 * (256**2 - 1) / 12))
    noise: Floats = (total - np.float32(4 * 255 / 2)) * scale
    return noise


def _paint_background(shot: Shot, texture: Floats, seconds: Floats) -> Floats:
    """Cut a window out of the texture for each frame, linear between texels; returns (3, F, H, W)."""
    offset = np.array(shot.background.offset) - seconds[:, None] * np.array(shot.pan)  # (F, 2)
    corner = np.floor(offset).astype(np.int64)
    right, down = (offset - corner).astype(np.float32).T[:, :, None, None]  # (F, 1, 1) each
    texels = (corner[:, :, None] + np.arange(FRAME_SIZE + 1)) % TEXTURE_SIZE  # (F, 2, W + 1)
    window = texture[texels[:, 1, :, None], texels[:, 0, None, :]]  # (F, H + 1, W + 1)
    window = window[:, :-1] + down * (window[:, 1:] - window[:, :-1])
    window = window[:, :, :-1] + right * (window[:, :, 1:] - window[:, :, :-1])
    return _colour(shot.background, window)


def _paint_object(planes: Floats, shot: Shot, texture: Floats, seconds: Floats) -> None:
    """Paint the object over ``planes`` (3, F, H, W); its texture moves, grows and turns with it."""
    radius = (shot.radius * np.exp(np.float32(shot.zoom) * seconds))[:, None, None]
    angle = (shot.angle + shot.turn * seconds)[:, None, None]
    pixels = np.arange(FRAME_SIZE, dtype=np.float32) + np.float32(0.5)
    x = (pixels - (shot.centre[0] + shot.velocity[0] * seconds)[:, None])[:, None, :] / radius  # (F, 1, W)
    y = (pixels - (shot.centre[1] + shot.velocity[1] * seconds)[:, None])[:, :, None] / radius  # (F, H, 1)
    u = np.cos(angle) * x + np.sin(angle) * y  # (F, H, W), the object's own axes, in radii
    v = np.cos(angle) * y - np.sin(angle) * x
    # Coverage falls from 1 to 0 within the pixel across the edge.
    coverage = ((1 - _edge_distance(u, v, shot.shape)) * radius + np.float32(0.5)).clip(0, 1)
    painted = np.flatnonzero(coverage > 0)
    texels = _interpolate(
        texture,
        u.ravel()[painted] * TEXELS_PER_RADIUS + shot.object.offset[0],
        v.ravel()[painted] * TEXELS_PER_RADIUS + shot.object.offset[1],
    )
    flat = planes.reshape(3, -1)
    under = flat[:, painted]
    flat[:, painted] = under + coverage.ravel()[painted] * (_colour(shot.object, texels) - under)


def _edge_distance(u: Floats, v: Floats, shape: int) -> Floats:
    """Distance from the centre over that of the edge, for the shapes of ``Shot.shape``; their areas are about equal."""
    if shape == 0:
        return np.sqrt(u * u + v * v)
    if shape == 1:
        return np.maximum(abs(u), abs(v)) / np.float32(0.89)
    if shape == 2:
        side = np.float32(np.sqrt(3) / 2) * abs(u) + v / 2
        return np.maximum(side, -v) / np.float32(0.78)
    long, short = np.maximum(abs(u), abs(v)), np.minimum(abs(u), abs(v))
    return np.maximum(long / np.float32(1.2), short / np.float32(0.39))


def _interpolate(texture: Floats, x: Floats, y: Floats) -> Floats:
    """Texture at P places, linear between texels; shape (P,)."""
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    across, down = x - left.astype(np.float32), y - top.astype(np.float32)
    left, top = left % TEXTURE_SIZE, top % TEXTURE_SIZE
    right, bottom = (left + 1) % TEXTURE_SIZE, (top + 1) % TEXTURE_SIZE
    upper = texture[top, left] * (1 - across) + texture[top, right] * across
    lower = texture[bottom, left] * (1 - across) + texture[bottom, right] * across
    return upper * (1 - down) + lower * down


def _colour(surface: Surface, texels: Floats) -> Floats:
    """Colours of texels of any shape, with RGB as a new first axis."""
    colour, tint = np.array([surface.colour, surface.tint], np.float32).reshape(2, 3, *[1] * texels.ndim)
    coloured: Floats = colour + tint * texels
    return coloured
