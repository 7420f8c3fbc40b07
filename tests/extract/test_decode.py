import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scale_video.extract.decode import decode_clips
from scale_video.extract.probe import probe_video
from scale_video.store.video_probe import VideoStatus


def clip(start, end, *, top=0.0, left=0.0, bottom=1.0, right=1.0, flip=0.0):
    return np.array([[flip, top, left, bottom, right, start, end]], np.float32)


def decode(path, coordinates, *, duration_seconds, num_frames=5, frame_size=32, valid=None):
    return decode_clips(
        path,
        coordinates=coordinates,
        valid=np.ones(len(coordinates), np.bool_) if valid is None else valid,
        duration_seconds=duration_seconds,
        num_frames=num_frames,
        frame_size=frame_size,
    )


def expected_numbers(times, numbers, coordinates, num_frames):
    """Slow and obvious: the last frame whose time is at most a millisecond after the sample's."""
    rows = []
    for *_, start, end in coordinates.astype(np.float64).tolist():
        row = []
        for j in range(num_frames):
            sample = start + j * (end - start) / (num_frames - 1)
            row.append([n for t, n in zip(times, numbers, strict=True) if t <= sample + 1e-3][-1])
        rows.append(row)
    return rows


def spans(last_time, num_clips):
    """Spans between frames, on frame boundaries, and from end to end, away from the millisecond of tolerance."""
    rng = np.random.default_rng(3)
    starts = rng.uniform(0, last_time, num_clips)
    ends = rng.uniform(starts, last_time)
    return np.concatenate([clip(0, last_time), *(clip(s, e) for s, e in zip(starts, ends, strict=True))])


def test_each_clip_holds_the_frames_its_coordinates_demand(painted_video, read_number):
    times = painted_video.times
    coordinates = spans(times[-1], 8)
    # Samples at every single frame, too: where containers round, their times are off by half a millisecond.
    coordinates = np.concatenate([coordinates, *(clip(t, t) for t in times)])
    decoded = decode(
        painted_video.path, coordinates, duration_seconds=probe_video(painted_video.path).duration_seconds
    )
    assert (decoded.status, decoded.error) == (VideoStatus.OK, "")
    assert decoded.valid.all()
    numbers = [[read_number(frame) for frame in frames] for frames in decoded.frames]
    assert numbers == expected_numbers(times, painted_video.numbers, coordinates, 5)
