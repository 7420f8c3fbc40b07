"""Frames to the bytes of an h264 file, the same bytes every time."""

import io

import av
import numpy as np
from numpy.typing import NDArray


def encode_mp4(frames: NDArray[np.uint8], *, frames_per_second: int) -> bytes:
    """Encode frames as h264 (yuv420p, crf 23) in mp4.

    One thread, and no date or library version in the container, so that equal frames give equal bytes.

    Args:
        frames: RGB, shape (F, H, W, 3), H and W even, F at least 1.
        frames_per_second: Constant rate.

    Returns:
        The file's bytes.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=frames_per_second, options={"crf": "23", "preset": "veryfast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()
