from pathlib import Path

import av
import numpy as np
import pytest

from scale_video.extract.orientation import Orientation, orientation_of


def coded_frame(path: Path, *, degrees: int, hflip: bool) -> av.VideoFrame:
    """A frame whose file asks the player for a mirroring, then a counter-clockwise turn."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        stream.set_display_rotation(degrees, hflip=hflip)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("hflip", [False, True])
def test_the_display_matrix_is_read(tmp_path: Path, degrees: int, hflip: bool) -> None:
    orientation = orientation_of(coded_frame(tmp_path / "a.mp4", degrees=degrees, hflip=hflip))
    assert orientation.mirrored == hflip
    # The matrix as the specification has it, on three pixels: what is upright must come out where it sends them.
    lying = np.zeros((2, 3, 3), np.uint8)
    lying[0, 0], lying[0, 2], lying[1, 0] = 1, 2, 3
    upright = orientation.upright(lying)
    expected = np.rot90(lying, degrees // 90)
    assert np.array_equal(upright, expected[:, ::-1] if hflip else expected)


def test_a_frame_without_a_matrix_stands_upright() -> None:
    orientation = orientation_of(av.VideoFrame(32, 16, "yuv420p"))
    assert orientation == Orientation(rotation_degrees=0, mirrored=False)
    frame = np.zeros((2, 3, 3), np.uint8)
    assert orientation.upright(frame) is frame


@pytest.mark.parametrize(("degrees", "swaps"), [(0, False), (90, True), (180, False), (270, True)])
def test_quarter_turns_swap_sides(degrees: int, swaps: bool) -> None:
    assert Orientation(degrees).swaps_sides == swaps
