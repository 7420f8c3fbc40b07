import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from scale_video.extract.datasets.render_shots import (
    FRAME_SIZE,
    FRAMES_PER_SECOND,
    NUM_SHAPES,
    Motion,
    Shot,
    Surface,
    draw_shot,
    render_shot,
)
from scale_video.extract.datasets.texture_bank import texture_bank

BLACK = Surface(texture=0, offset=(0.0, 0.0), colour=(0.0, 0.0, 0.0), tint=(0.0, 0.0, 0.0))
WHITE = dataclasses.replace(BLACK, colour=(255.0, 255.0, 255.0))


def plain(motion: Motion, seed: int) -> Shot:
    """A drawn shot as a white object on black, without noise, in the middle of the frame so that it stays inside."""
    shot = draw_shot(np.random.default_rng(seed), motion, num_frames=9)
    return dataclasses.replace(
        shot, background=BLACK, object=WHITE, centre=(32.0, 32.0), gain=1.0, ramp=0.0, noise=0.0, radius=9.0
    )


def masses(shot: Shot) -> NDArray[np.float64]:
    """How much of every pixel the object covers, shape (F, H, W)."""
    return render_shot(shot, texture_bank("test", 0))[..., 0] / 255


def centroids(frames: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Centre of the object in every frame, x + iy."""
    y, x = np.mgrid[:FRAME_SIZE, :FRAME_SIZE] + 0.5
    return (frames * (x + 1j * y)).sum(axis=(1, 2)) / frames.sum(axis=(1, 2))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("motion", "direction"), [(Motion.LEFT, -1), (Motion.RIGHT, 1), (Motion.UP, -1j), (Motion.DOWN, 1j)]
)
def test_shifts_go_where_they_say(motion: Motion, direction: complex, seed: int) -> None:
    frames = masses(plain(motion, seed))
    velocity = np.diff(centroids(frames)) * FRAMES_PER_SECOND / direction  # along + i across
    assert ((velocity.real > 13) & (velocity.real < 27)).all()
    assert (abs(velocity.imag) < 6).all()
    np.testing.assert_allclose(frames.sum(axis=(1, 2)), frames[0].sum(), rtol=0.02)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("motion", "sign"), [(Motion.GROW, 1), (Motion.SHRINK, -1)])
def test_zooms_change_the_size(motion: Motion, sign: int, seed: int) -> None:
    frames = masses(plain(motion, seed))
    log_radius = np.log(frames.sum(axis=(1, 2))) / 2
    rate = sign * np.diff(log_radius) * FRAMES_PER_SECOND
    assert ((rate > 0.4) & (rate < 1.0)).all()
    assert (abs(np.diff(centroids(frames))) * FRAMES_PER_SECOND < 8).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("motion", "sign"), [(Motion.CLOCKWISE, 1), (Motion.COUNTERCLOCKWISE, -1)])
def test_turns_go_the_way_they_say(motion: Motion, sign: int, seed: int) -> None:
    frames = masses(dataclasses.replace(plain(motion, seed), shape=2))
    y, x = np.mgrid[:FRAME_SIZE, :FRAME_SIZE] + 0.5
    from_centre = (x + 1j * y) - centroids(frames)[:, None, None]
    # A triangle's third moment turns three times as fast as the triangle; y points down, so clockwise is positive.
    angle = np.unwrap(np.angle((frames * from_centre**3).sum(axis=(1, 2)))) / 3
    rate = sign * np.diff(angle) * FRAMES_PER_SECOND
    assert ((rate > 1.3) & (rate < 3.2)).all()


def test_shapes_are_of_about_equal_area() -> None:
    shot = plain(Motion.LEFT, 0)
    areas = [masses(dataclasses.replace(shot, shape=shape))[4].sum() for shape in range(NUM_SHAPES)]
    np.testing.assert_allclose(areas, np.pi * 9**2, rtol=0.1)


def test_the_background_pans_by_whole_texels() -> None:
    # 16 px/s at 16 frames a second: one pixel a frame.
    shot = dataclasses.replace(plain(Motion.LEFT, 0), radius=0.1, centre=(-50.0, -50.0), pan=(16.0, 0.0))
    shot = dataclasses.replace(
        shot, background=Surface(texture=3, offset=(0.0, 0.0), colour=(128.0,) * 3, tint=(30.0,) * 3)
    )
    frames = render_shot(shot, texture_bank("test", 0))
    np.testing.assert_array_equal(frames[1:, :, 1:], frames[:-1, :, :-1])


def test_light_and_noise_have_the_strengths_they_say() -> None:
    grey = dataclasses.replace(BLACK, colour=(100.0, 100.0, 100.0))
    shot = dataclasses.replace(plain(Motion.LEFT, 0), background=grey, object=grey, gain=1.1, ramp=0.25, noise=4.0)
    frames = render_shot(shot, texture_bank("test", 0)).astype(float)
    seconds = (np.arange(9) - 4) / FRAMES_PER_SECOND
    # Grey levels are cut, not rounded: half a level less on average.
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), 100 * (1.1 + 0.25 * seconds) - 0.5, atol=0.3)
    np.testing.assert_allclose(frames.std(axis=(1, 2, 3)), 4, rtol=0.05)
