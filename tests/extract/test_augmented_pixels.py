"""Against Pillow, against SciPy, and against the formulas of FORMAT.md worked out pixel by pixel."""

import colorsys
import math
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from scale_video.extract import augmented_pixels
from scale_video.extract.augmented_pixels import augment_clip
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import decode_clips
from scale_video.store.augmentation import Augmentation

Pixels = NDArray[np.uint8]
NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0}


def parameters(order: tuple[int, ...] = (0, 1, 2, 3), **changes: float) -> NDArray[np.float32]:
    row = np.zeros(len(Augmentation), np.float32)
    row[Augmentation.BRIGHTNESS_STEP : Augmentation.HUE_STEP + 1] = order
    for name, value in {**NEUTRAL, **changes}.items():
        row[Augmentation[name.upper()]] = value
    return row


def some_clip(*, num_frames: int = 2, side: int = 24) -> Pixels:
    """Smooth colours with noise, black, white, grey and pure corners."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (num_frames, side // 4, side // 4, 3))
    frames = coarse.repeat(4, axis=1).repeat(4, axis=2) + rng.integers(-20, 20, (num_frames, side, side, 3))
    frames[:, :2, :4] = [[0, 0, 0], [255, 255, 255], [90, 90, 90], [255, 0, 255]]
    return np.clip(frames, 0, 255).astype(np.uint8)


def augmented(clip: Pixels, row: NDArray[np.float32]) -> Pixels:
    result = clip.copy()
    augment_clip(result, row)
    return result


def levels_apart(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize("factor", [0.4, 0.9, 1.25, 1.6])
@pytest.mark.parametrize(
    ("name", "enhance"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
def test_factors_are_those_of_pillow(name, enhance, factor):
    """Pillow rounds grey and its mean to whole levels, and cuts fractions off at the end."""
    clip = some_clip()
    expected = np.stack([np.asarray(enhance(Image.fromarray(frame)).enhance(factor)) for frame in clip])
    found = augmented(clip, parameters(**{name: factor}))
    assert levels_apart(found, expected) <= (1 if name == "brightness" else 2)
    assert levels_apart(found, clip) > 5


def test_grey_is_that_of_pillow():
    clip = some_clip()
    expected = np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in clip])[..., None]
    assert levels_apart(augmented(clip, parameters(grey=1)), np.broadcast_to(expected, clip.shape)) <= 1


@pytest.mark.parametrize("turns", [-0.5, -0.15, 0.07, 0.15, 0.5])
def test_hue_is_that_of_colorsys(turns):
    clip = some_clip()
    expected = np.empty_like(clip)
    for index in np.ndindex(clip.shape[:3]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(clip[index] / 255))
        turned = colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
        expected[index] = np.rint(np.array(turned) * 255)
    assert levels_apart(augmented(clip, parameters(hue=turns)), expected) <= 1
    third = augmented(clip, parameters(hue=1 / 3))  # red becomes green, green blue, blue red
    assert levels_apart(third, np.roll(clip, 1, axis=3)) <= 1


@pytest.mark.parametrize("pixels", [0.1, 0.5, 1.0, 2.0, 9.0])
def test_blur_is_that_of_scipy(pixels):
    clip = some_clip()
    radius = max(1, math.floor(4 * pixels + 0.5))
    expected = gaussian_filter(clip.astype(np.float64), pixels, axes=(1, 2), mode="nearest", radius=radius)
    found = augmented(clip, parameters(blur=pixels / 24))
    assert levels_apart(found, np.rint(expected).astype(np.uint8)) <= 1
    assert (pixels < 0.2) == (levels_apart(found, clip) == 0)


def test_blur_grows_with_the_frame():
    """A frame twice as large, blurred by the same parameter, looks the same: other backbones see the same clip."""
    small = np.kron(some_clip(side=16)[:1, :, :, :], np.ones((1, 4, 4, 1), np.uint8))
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    blurred, twice = augmented(small, parameters(blur=3 / 64)), augmented(large, parameters(blur=3 / 64))
    halved = twice.astype(float).reshape(1, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - blurred)[:, 8:-8, 8:-8].mean() < 1.5


def slowly(clip: Pixels, row: NDArray[np.float32]) -> Pixels:
    """The text of FORMAT.md, one pixel after the other, in float64."""
    value = dict(zip([p.name.lower() for p in Augmentation], row.astype(float).tolist(), strict=True))

    def grey(pixel: NDArray[np.float64]) -> float:
        return float(0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2])

    result = np.empty_like(clip)
    for number, frame in enumerate(clip.astype(np.float64)):
        pixels = frame.reshape(-1, 3)
        for name in sorted(("brightness", "contrast", "saturation", "hue"), key=lambda name: value[f"{name}_step"]):
            mean = np.mean([round(grey(pixel)) for pixel in pixels])
            for pixel in pixels:
                if name == "hue":
                    hue, saturation, brightness = colorsys.rgb_to_hsv(*(pixel / 255))
                    pixel[:] = np.array(colorsys.hsv_to_rgb((hue + value["hue"]) % 1, saturation, brightness)) * 255
                    continue
                base = {"brightness": 0.0, "contrast": mean, "saturation": grey(pixel)}[name]
                pixel[:] = np.clip(base + value[name] * (pixel - base), 0, 255)
        if value["grey"]:
            for pixel in pixels:
                pixel[:] = grey(pixel)
        if value["blur"]:
            sigma = value["blur"] * len(frame)
            reach = range(-max(1, math.floor(4 * sigma + 0.5)), max(1, math.floor(4 * sigma + 0.5)) + 1)
            weights = np.array([math.exp(-(j**2) / (2 * sigma**2)) for j in reach])
            weights /= weights.sum()
            last = len(frame) - 1
            for _ in range(2):  # along columns, turned over, and again
                rows = [sum(w * frame[min(max(y + j, 0), last)] for w, j in zip(weights, reach, strict=True))
                        for y in range(len(frame))]  # fmt: skip
                frame = np.stack(rows).transpose(1, 0, 2)
        result[number] = np.rint(frame)
    return result


@pytest.mark.parametrize("order", list(permutations(range(4)))[::5])
def test_all_steps_in_any_order_equal_the_formulas(order):
    clip = some_clip(side=16)
    changes = {"brightness": 1.3, "contrast": 0.6, "saturation": 1.5, "hue": -0.12}
    for last in ({}, {"grey": 1.0}, {"blur": 1.2 / 16}):
        row = parameters(order, **changes, **last)
        assert levels_apart(augmented(clip, row), slowly(clip, row)) <= 1


def test_the_order_matters():
    clip = some_clip()
    changes = {"brightness": 1.6, "contrast": 0.5, "saturation": 1.5, "hue": 0.1}
    found = {augmented(clip, parameters(order, **changes)).tobytes() for order in permutations(range(4))}
    assert len(found) > 4


def test_what_is_neutral_changes_no_bit_and_frames_do_not_depend_on_each_other():
    clip = some_clip()
    assert (augmented(clip, parameters((3, 1, 0, 2))) == clip).all()
    row = parameters(contrast=1.4, hue=0.1, blur=0.05)
    np.testing.assert_array_equal(augmented(clip[1:], row), augmented(clip, row)[1:])


def test_frames_taken_some_at_a_time_are_as_if_each_were_taken_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = some_clip(num_frames=5)
    row = parameters((2, 0, 3, 1), brightness=0.7, contrast=1.4, saturation=1.2, hue=0.1, blur=0.05)
    together = augmented(clip, row)
    for at_once in (1, 2):
        monkeypatch.setattr(augmented_pixels, "PIXELS_AT_ONCE", at_once * 24 * 24)
        np.testing.assert_array_equal(augmented(clip, row), together)


def test_decoded_clips_are_augmented_after_crop_flip_and_resize(
    tmp_path: Path, make_painted_video: Callable[..., Path]
) -> None:
    """Each clip by its own row; what is not planned stays empty; a second request of another size is served alike."""
    path = make_painted_video(tmp_path / "a.mp4", num_frames=20)
    coordinates = np.array([[0, 0, 0, 1, 1, 0, 0.2], [1, 0.2, 0, 0.9, 0.5, 0.1, 0.4], [np.nan] * 7], np.float32)
    rows = np.stack(
        [parameters(hue=0.1, blur=0.03), parameters((3, 2, 1, 0), contrast=1.5, saturation=0.5), [np.nan] * 10]
    )
    rows = rows.astype(np.float32)
    valid = np.array([True, True, False])

    def clips(augmentation: NDArray[np.float32] | None) -> list[Pixels]:
        requests = [ClipRequest(coordinates, valid, 3, size, augmentation=augmentation) for size in (32, 20)]
        decoded = decode_clips(path, requests, duration_seconds=20 / 30).clips
        assert all((one.valid == valid).all() for one in decoded)
        return [one.frames for one in decoded]

    for plain, changed in zip(clips(None), clips(rows), strict=True):
        for clip in (0, 1):
            np.testing.assert_array_equal(changed[clip], augmented(plain[clip], rows[clip]))
            assert (changed[clip] != plain[clip]).any()
        assert not changed[2].any()


def test_what_cannot_be_augmented_is_refused() -> None:
    coordinates, valid = np.array([[0, 0, 0, 1, 1, 0, 1]], np.float32), np.ones(1, np.bool_)
    row = parameters(hue=0.1)[None]
    with pytest.raises(ValueError, match=r"augmentation must be \(K, 10\), got \(1, 9\)"):
        ClipRequest(coordinates, valid, 2, 8, augmentation=row[:, 1:])
    with pytest.raises(ValueError, match="augmentation must be finite for every planned clip"):
        ClipRequest(coordinates, valid, 2, 8, augmentation=row * np.float32(np.nan))
    with pytest.raises(ValueError, match=r"blur must be in \[0, 1\] of the frame's side, got 1e\+09"):
        ClipRequest(coordinates, valid, 2, 8, augmentation=parameters(blur=1e9)[None])
    with pytest.raises(ValueError, match="augmentation changes finished frames; ask for enlarge=True"):
        ClipRequest(coordinates, valid, 2, 8, enlarge=False, augmentation=row)
