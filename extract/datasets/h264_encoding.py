"""Frames to the bytes of an h264 file, the same bytes every time."""

import io
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

_X264_OPTIONS: Final = {
    "preset": "veryfast",
    "crf": "26",
    # Macroblock-tree rate control (x264 165, AVX2) gave other bytes in one of five encodings of equal 64 x 64 frames.
    # Without it, crf 26 has about the size and quality of crf 23 with it.
    "x264-params": "mbtree=0",
}


def encode_mp4(frames: NDArray[np.uint8], *, frames_per_second: int) -> bytes:
    """Encode frames as h264 (yuv420p) in mp4.

    One thread, and no date or library version in the container, so that equal frames give equal bytes.

    Args:
        frames: RGB, shape (F, H, W, 3), H and W even, F at least 1.
        frames_per_second: Constant rate.

    Returns:
        The file's bytes.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=frames_per_second, options=_X264_OPTIONS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()
