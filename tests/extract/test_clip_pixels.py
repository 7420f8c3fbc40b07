from collections import deque
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from scale_video.extract import clip_pixels
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.corner_resize import enlarge_corners
from scale_video.extract.decode import decode_clips

Coordinates = NDArray[np.float32]


def clip(
    start: float,
    end: float,
    *,
    top: float = 0.0,
    left: float = 0.0,
    bottom: float = 1.0,
    right: float = 1.0,
    flip: float = 0.0,
) -> Coordinates:
    return np.array([[flip, top, left, bottom, right, start, end]], np.float32)


def frames_of(path: Path, coordinates: Coordinates, *, num_frames: int = 1, frame_size: int = 32) -> NDArray[np.uint8]:
    request = ClipRequest(coordinates, np.ones(len(coordinates), np.bool_), num_frames, frame_size)
    (decoded,) = decode_clips(path, [request], duration_seconds=0.1).clips
    assert decoded.valid.all()
    return decoded.frames


QUADRANTS = {  # top, left -> colour
    (0, 0): (220, 40, 40),
    (0, 1): (40, 200, 40),
    (1, 0): (40, 40, 220),
    (1, 1): (230, 230, 60),
}


def paint_quadrants(_number: int) -> NDArray[np.uint8]:
    frame = np.zeros((64, 96, 3), np.uint8)
    for (row, column), colour in QUADRANTS.items():
        frame[32 * row : 32 * row + 32, 48 * column : 48 * column + 48] = colour
    return frame


def is_colour(pixels: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return np.abs(pixels.astype(int) - np.array(colour)).max() < 16


@pytest.mark.parametrize("rotation_degrees", [0, 90, 180, 270])
def test_the_box_is_cut_out_of_the_upright_frame(
    tmp_path: Path, make_painted_video: Callable[..., Path], rotation_degrees: int
) -> None:
    path = make_painted_video(tmp_path / "a.mp4", num_frames=4, draw=paint_quadrants, rotation_degrees=rotation_degrees)
    places = list(QUADRANTS)
    boxes = [clip(0, 0.1, top=r / 2, bottom=(r + 1) / 2, left=c / 2, right=(c + 1) / 2) for r, c in places]
    frames = frames_of(path, np.concatenate(boxes), num_frames=2, frame_size=16)
    for crop, place in zip(frames, places, strict=True):
        assert is_colour(crop[:, 2:-2, 2:-2], QUADRANTS[place])  # chroma of the neighbours bleeds into the edge


def test_a_flipped_clip_is_mirrored(tmp_path: Path, make_painted_video: Callable[..., Path]) -> None:
    path = make_painted_video(tmp_path / "a.mp4", num_frames=4, draw=paint_quadrants)
    boxes = {"bottom": 0.75, "right": 0.75}
    frames = frames_of(path, np.concatenate([clip(0, 0, **boxes), clip(0, 0, flip=1, **boxes)]))
    plain, mirrored = frames[:, 0]
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    assert is_colour(mirrored[:12, -12:], QUADRANTS[0, 0])


def test_edges_are_rounded_to_whole_pixels_and_at_least_one(
    tmp_path: Path, make_painted_video: Callable[..., Path]
) -> None:
    path = make_painted_video(tmp_path / "a.mp4", num_frames=2, draw=paint_quadrants)
    boxes = [
        clip(0, 0, left=48.4 / 96, right=49.3 / 96, bottom=0.4),  # column 48: right of the middle
        clip(0, 0, left=46.6 / 96, right=46.7 / 96, bottom=0.4),  # no column: widened to 47
        clip(0, 0, left=1 - 1e-6, right=1.0000001, bottom=0.4),  # at the very edge: column 95
    ]
    frames = frames_of(path, np.concatenate(boxes), frame_size=8)
    left, right = QUADRANTS[0, 0], QUADRANTS[0, 1]
    red = frames[:, 0, 4, 4, 0].astype(int)
    assert abs(red[0] - right[0]) < abs(red[0] - left[0])
    assert abs(red[1] - left[0]) < abs(red[1] - right[0])
    assert is_colour(frames[2, 0], right)


def test_resizing_is_pillows_antialiased_bilinear(tmp_path: Path, make_painted_video: Callable[..., Path]) -> None:
    image = pytest.importorskip("PIL.Image")
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    path = make_painted_video(tmp_path / "a.mp4", num_frames=2, draw=lambda _: noise)
    whole, small = (frames_of(path, clip(0, 0, right=64 / 96), frame_size=size)[0, 0] for size in (64, 23))
    resized = np.asarray(image.fromarray(whole).resize((23, 23), image.Resampling.BILINEAR))
    assert np.abs(small.astype(int) - resized).max() <= 1


@pytest.mark.parametrize("frame_size", [23, 64, 224])
@pytest.mark.parametrize("flip", [0, 1])
def test_pixels_are_those_of_torchs_resize_of_pyavs_frames(
    tmp_path: Path, make_painted_video: Callable[..., Path], frame_size: int, flip: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, 70, 98, 3), dtype=np.uint8)
    path = make_painted_video(tmp_path / "a.mp4", num_frames=6, height=70, width=98, draw=noise.__getitem__)
    box = {"top": 5 / 70, "bottom": 68 / 70, "left": 17 / 98, "right": 97 / 98}
    frames = frames_of(path, clip(0, 0.0999, flip=flip, **box), num_frames=4, frame_size=frame_size)[0]
    with av.open(str(path)) as container:
        decoded = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)][:4]
    crops = torch.from_numpy(np.stack(decoded)[:, 5:68, 17:97]).permute(0, 3, 1, 2)
    resized = functional.interpolate(crops, size=(frame_size, frame_size), mode="bilinear", antialias=True)
    expected = resized.flip(3) if flip else resized
    np.testing.assert_array_equal(frames, expected.permute(0, 2, 3, 1).numpy())


def test_mirroring_before_or_after_the_resize_gives_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    for size in [*range(20, 700, 37), 112, 224, 256, 448]:
        row = torch.from_numpy(rng.integers(0, 256, (1, 2, size, 3), dtype=np.uint8)).permute(0, 3, 1, 2)
        for target in (112, 224, 256):
            before, after = (
                functional.interpolate(pixels, size=(2, target), mode="bilinear", antialias=True)
                for pixels in (row.flip(3), row)
            )
            assert torch.equal(before, after.flip(3)), (size, target)


@pytest.mark.parametrize(
    ("space", "full_range", "kr", "kb"),
    [(1, False, 0.2126, 0.0722), (5, False, 0.299, 0.114), (2, False, 0.299, 0.114), (1, True, 0.2126, 0.0722)],
    ids=["BT.709", "BT.601", "not named", "BT.709 full range"],
)
def test_colours_follow_the_matrix_and_range_that_the_stream_names(
    tmp_path: Path, space: int, full_range: bool, kr: float, kb: float
) -> None:
    luma, blue, red = 120, 100, 170
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = space, 2 if full_range else 1
        frame = av.VideoFrame(64, 64, "yuv420p")
        for plane, value in zip(frame.planes, (luma, blue, red), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.colorspace, frame.color_range = space, 2 if full_range else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    pixel = frames_of(path, clip(0, 0))[0, 0, 16, 16].astype(int)
    y = luma / 255 if full_range else (luma - 16) / 219
    b, r = ((value - 128) / (255 if full_range else 224) for value in (blue, red))
    wanted = y + 2 * (1 - kr) * r, y - 2 * (kb * (1 - kb) * b + kr * (1 - kr) * r) / (1 - kr - kb), y + 2 * (1 - kb) * b
    assert np.abs(pixel - 255 * np.array(wanted)).max() <= 3


@pytest.mark.parametrize("waiting_bytes", [1, 60_000, 1 << 30])
@pytest.mark.parametrize(("clip_bytes", "clips_at_once"), [(1, 32), (50_000, 1), (50_000, 2), (1 << 22, 32)])
def test_the_bits_do_not_depend_on_how_many_crops_are_resized_together(
    tmp_path: Path,
    make_painted_video: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    waiting_bytes: int,
    clip_bytes: int,
    clips_at_once: int,
) -> None:
    path = make_painted_video(tmp_path / "a.mp4")
    # The last one shows each frame several times.
    coordinates = np.concatenate([clip(0, 1.9, bottom=0.9), clip(0.3, 1.2, left=0.2, flip=1), clip(1.0, 1.1)])
    expected = frames_of(path, coordinates, num_frames=9)
    monkeypatch.setattr(clip_pixels, "WAITING_BYTES", waiting_bytes)
    monkeypatch.setattr(clip_pixels, "CLIP_BYTES", clip_bytes)
    monkeypatch.setattr(clip_pixels, "_SPARE", deque(maxlen=2))
    monkeypatch.setattr(clip_pixels, "CLIPS_AT_ONCE", clips_at_once)
    assert frames_of(path, coordinates, num_frames=9).tobytes() == expected.tobytes()


@pytest.mark.parametrize("frame_size", [128, 48])
def test_crops_that_a_device_enlarges_come_out_as_if_they_had_been_enlarged_here(
    tmp_path: Path, make_painted_video: Callable[..., Path], frame_size: int
) -> None:
    path = make_painted_video(tmp_path / "a.mp4")  # 64 × 96
    coordinates = np.concatenate(
        [clip(0, 1, bottom=0.5, right=0.25, flip=1), clip(0, 1.9, top=0.2), clip(1, 1.5, right=0.5)]
    )
    valid = np.ones(3, np.bool_)
    here, there = (ClipRequest(coordinates, valid, 4, frame_size, enlarge=enlarge) for enlarge in (True, False))
    enlarged, as_they_are = decode_clips(path, [here, there], duration_seconds=2).clips
    assert enlarged.sizes is None
    assert as_they_are.sizes is not None
    crops = [[32, 24], [51, 96], [64, 48]]
    sizes = [size if max(size) <= frame_size else [frame_size] * 2 for size in crops]
    assert as_they_are.sizes.tolist() == sizes
    frames = torch.from_numpy(as_they_are.frames.copy())
    enlarge_corners(frames, [(height, width) for height, width in sizes])
    assert np.abs(frames.numpy().astype(int) - enlarged.frames).max() <= 1


def test_of_one_clip_all_crops_are_enlarged_or_none() -> None:
    request = ClipRequest(clip(0, 1), np.ones(1, np.bool_), 3, 32, enlarge=False)
    frames = np.empty(request.shape, np.uint8)
    painter = clip_pixels.ClipPainter(request, frames)
    for position, (side, grey) in enumerate(((16, 10), (8, 20), (16, 30))):  # the file changes its size midway
        painter.paint(np.full((side, side, 3), grey, np.uint8), [position])
        painter.finish()
    assert painter.sizes.tolist() == [[32, 32]]
    assert [set(np.unique(frame).tolist()) for frame in frames[0]] == [{10}, {20}, {30}]
