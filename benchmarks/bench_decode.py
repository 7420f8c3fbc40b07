"""How fast the clips of a video become pixels, against what the machine allows and against what people use today.

    OMP_NUM_THREADS=1 python benchmarks/bench_decode.py --json decode.json

Cases: 16 random clips (16 frames, 224 pixels) of a UCF-101-like AVI, a Kinetics-like MP4 and a 720p MP4 of 10 minutes.
Peers, in the same run, interleaved in random order, on the same file, clips and frames, one thread each, written as
their users would:

- ``decode only``: PyAV decoding the whole file and dropping the frames: the limit where every frame is decoded.
- ``opencv``: ``grab`` up to each needed frame (``CAP_PROP_POS_FRAMES`` over gaps of 10 s and more), ``retrieve`` and
  ``cvtColor`` of that, then crop and ``cv2.resize`` as its manual advises: bilinear to enlarge, area to shrink.
- ``decord``: ``VideoReader.get_batch`` of the needed frames, then crops and ``cv2.resize`` as for OpenCV.
- ``torchcodec``: ``VideoDecoder.get_frames_at`` of the needed frames, then crops and ``F.interpolate``, antialiased, a
  clip at a time.

A ratio above 1: ours is faster. ``difference`` is the mean absolute one between our pixels and the peer's, in grey
levels of 256, of the frame where it is largest: theirs are the same frames, or the row says so. What is not installed,
or fails on a file, is said in its row. Each side lives in a process of its own, as its users have it: side by side in
one, what one library frees decides what memory costs the next. Time is the process's CPU time, of all its threads:
everything here computes, nobody may gain by a hidden thread, and neighbours matter less.

``--keep-memory`` tells glibc to give nothing back to the system (``MALLOC_MMAP_THRESHOLD_`` and
``MALLOC_TRIM_THRESHOLD_``), which spares fresh pages to those who allocate anew for every video.
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.decode import decode_clips
from scale_video.extract.probe import probe_video
from scale_video.extract.sample_frames import TOLERANCE_SECONDS, sample_times
from scale_video.store.clip_plan import Coordinate
from scale_video.store.video_probe import VideoProbe, VideoStatus

NUM_CLIPS, NUM_FRAMES, FRAME_SIZE, SPAN_SECONDS = 16, 16, 224, 64 / 30
MAX_DIFFERENCE = 3.0
"""Grey levels. Resizes differ by less on average; a frame that is one too late by more."""
JUMP_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """A file, its clips, and for the peers the same clips as frame numbers."""

    case: str
    path: Path
    probe: VideoProbe
    coordinates: NDArray[np.float32]
    """Shape (K, C = 7)."""
    frame_numbers: NDArray[np.int64]
    """Shape (K, T): what ``coordinates`` mean at the file's constant rate."""


def write_video(path: Path, *, seconds: float, fps: int, width: int, height: int, codec: str, bit_rate: int) -> None:
    """Write a moving cut-out of a smooth texture with noise on it, about as hard to code as footage."""
    generator = torch.Generator().manual_seed(0)
    texture = torch.zeros(1, 3, height + 256, width + 256)
    for cells in (4, 16, 64):
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        texture += F.interpolate(noise, texture.shape[2:], mode="bicubic") / cells**0.5
    grain = torch.randint(-6, 7, (8, height, width, 1), generator=generator)
    pixels = (255 * texture / texture.max()).clamp(0, 255)[0].permute(1, 2, 0)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", bit_rate
        if codec == "mpeg4":
            stream.codec_context.codec_tag = "XVID"
        else:
            stream.options = {"preset": "veryfast"}
        for index in range(round(seconds * fps)):
            top, left = (int(128 + 120 * f(index / 25)) for f in (np.sin, np.cos))
            moving = pixels[top : top + height, left : left + width] + grain[index % len(grain)]
            picture = moving.clamp(0, 255).to(torch.uint8).contiguous().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def repeat_video(source: Path, target: Path, *, times: int) -> None:
    """Write a file that shows another one several times over, by copying its coded pictures."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        picture = old.streams.video[0]
        stream = new.add_stream_from_template(picture)
        packets = [packet for packet in old.demux(picture) if packet.size]
        length = round(len(packets) / Fraction(picture.average_rate or 1) / Fraction(picture.time_base or 1))
        for turn in range(times):
            for original in packets:
                packet = av.Packet(bytes(original))
                packet.stream, packet.time_base = stream, original.time_base
                packet.is_keyframe, packet.duration = original.is_keyframe, original.duration
                packet.pts, packet.dts = (ticks + turn * length for ticks in (original.pts or 0, original.dts or 0))
                new.mux(packet)


def plan(case: str, path: Path) -> Sample:
    """Draw clips as the ``random`` view does: any start, the short side resized to 256-320, a 224 crop, flips."""
    probe = probe_video(path)
    rng = np.random.default_rng(0)
    coordinates = np.zeros((NUM_CLIPS, len(Coordinate)), np.float32)
    for row in coordinates:
        box = FRAME_SIZE / rng.integers(256, 321) * min(probe.height, probe.width)
        top, left = rng.uniform(0, probe.height - box), rng.uniform(0, probe.width - box)
        start = rng.uniform(0, probe.duration_seconds - SPAN_SECONDS)
        row[Coordinate.FLIP] = rng.integers(2)
        row[[Coordinate.TOP, Coordinate.BOTTOM]] = top / probe.height, (top + box) / probe.height
        row[[Coordinate.LEFT, Coordinate.RIGHT]] = left / probe.width, (left + box) / probe.width
        row[[Coordinate.START, Coordinate.END]] = start, start + SPAN_SECONDS - 1 / probe.frames_per_second
    times = sample_times(coordinates, num_frames=NUM_FRAMES) + TOLERANCE_SECONDS
    numbers = np.floor(times * probe.frames_per_second).astype(np.int64)
    return Sample(case, path, probe, coordinates, numbers)


def ours(sample: Sample) -> NDArray[np.uint8]:
    """``decode_clips``."""
    request = ClipRequest(sample.coordinates, np.ones(NUM_CLIPS, np.bool_), NUM_FRAMES, FRAME_SIZE)
    (decoded,) = decode_clips(sample.path, [request], duration_seconds=sample.probe.duration_seconds).clips
    if decoded.status != VideoStatus.OK:
        raise RuntimeError(f"{sample.case}: {decoded.status.name} {decoded.error}")
    return decoded.frames


def decode_only(sample: Sample) -> None:
    """Every frame decoded, none converted."""
    with av.open(str(sample.path)) as container:
        stream = container.streams.video[0]
        stream.thread_count, stream.codec_context.thread_type = 1, "NONE"
        for _ in container.decode(stream):
            pass


def _boxes(sample: Sample) -> list[list[int]]:
    """Top, left, bottom and right of each clip in pixels."""
    scale = np.array([sample.probe.height, sample.probe.width] * 2)
    boxes: list[list[int]] = (
        np.rint(sample.coordinates[:, Coordinate.TOP : Coordinate.RIGHT + 1] * scale).astype(int).tolist()
    )
    return boxes


def _crop_and_resize(sample: Sample, frames: dict[int, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The clips out of RGB frames by number, as a user of OpenCV writes it."""
    import cv2

    cv2.setNumThreads(1)
    clips = np.empty((NUM_CLIPS, NUM_FRAMES, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    for clip, (top, left, bottom, right) in enumerate(_boxes(sample)):
        for position, number in enumerate(sample.frame_numbers[clip].tolist()):
            crop = frames[number][top:bottom, left:right]
            how = cv2.INTER_AREA if crop.shape[0] > FRAME_SIZE else cv2.INTER_LINEAR
            resized = cv2.resize(crop, (FRAME_SIZE, FRAME_SIZE), interpolation=how)
            clips[clip, position] = cv2.flip(resized, 1) if sample.coordinates[clip, Coordinate.FLIP] else resized
    return clips


def opencv(sample: Sample) -> NDArray[np.uint8]:
    """Grab to the last needed frame, jump over long gaps; convert and keep the needed ones."""
    import cv2

    frames: dict[int, NDArray[np.uint8]] = {}
    capture = cv2.VideoCapture(str(sample.path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    following = 0
    for number in np.unique(sample.frame_numbers).tolist():
        if number - following > JUMP_SECONDS * sample.probe.frames_per_second:
            capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            following = number
        while following <= number:
            if not capture.grab():
                raise RuntimeError(f"no frame {following}")
            following += 1
        frames[number] = np.asarray(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB), np.uint8)
    capture.release()
    return _crop_and_resize(sample, frames)


def decord(sample: Sample) -> NDArray[np.uint8]:
    """One batch of the needed frames."""
    import decord as decord_module

    numbers = np.unique(sample.frame_numbers)
    reader = decord_module.VideoReader(str(sample.path), num_threads=1)
    batch = reader.get_batch(numbers).asnumpy()
    return _crop_and_resize(sample, dict(zip(numbers.tolist(), batch, strict=True)))


def torchcodec(sample: Sample) -> NDArray[np.uint8]:
    """One batch of the needed frames, resized a clip at a time."""
    decoders: Any = import_module("torchcodec.decoders")
    numbers, places = np.unique(sample.frame_numbers, return_inverse=True)
    batch = decoders.VideoDecoder(sample.path, num_ffmpeg_threads=1).get_frames_at(numbers.tolist()).data
    clips = torch.empty((NUM_CLIPS, NUM_FRAMES, 3, FRAME_SIZE, FRAME_SIZE), dtype=torch.uint8)
    for clip, (top, left, bottom, right) in enumerate(_boxes(sample)):
        crops = batch[places.reshape(NUM_CLIPS, NUM_FRAMES)[clip], :, top:bottom, left:right]
        resized = F.interpolate(crops, size=(FRAME_SIZE, FRAME_SIZE), mode="bilinear", antialias=True)
        clips[clip] = resized.flip(3) if sample.coordinates[clip, Coordinate.FLIP] else resized
    return clips.permute(0, 1, 3, 4, 2).numpy()


PEERS: dict[str, Callable[[Sample], NDArray[np.uint8] | None]] = {
    "decode only": decode_only,
    "opencv": opencv,
    "decord": decord,
    "torchcodec": torchcodec,
}
SIDES: dict[str, Callable[[Sample], NDArray[np.uint8] | None]] = {"ours": ours, **PEERS}


def timed(name: str, sample: Sample) -> float:
    """CPU seconds of this process for one side's clips, without freeing them."""
    begin = time.process_time()
    clips = SIDES[name](sample)
    seconds = time.process_time() - begin
    del clips
    return seconds


def clips_of(name: str, sample: Sample) -> NDArray[np.uint8] | None:
    """One side's clips, shape (K, T, S, S, 3)."""
    torch.set_num_threads(1)
    return SIDES[name](sample)


def measure(sample: Sample, *, repeats: int, peers: Sequence[str]) -> list[dict[str, Any]]:
    """Time ours and each peer in turn, after a first round that compares pixels; one record for each peer."""
    failures: dict[str, str] = {}
    differences: dict[str, float] = {}
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", *peers)}
    shuffled = random.Random(0)  # nobody always follows the one who leaves caches cold
    with ExitStack() as opened:
        processes = {
            name: opened.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for name in seconds
        }
        expected = np.asarray(processes["ours"].submit(clips_of, "ours", sample).result()).astype(np.int16)
        for name in peers:
            try:
                clips = processes[name].submit(clips_of, name, sample).result()
            except Exception as error:  # a peer that is absent or fails is a result
                failures[name] = " ".join(f"{type(error).__name__}: {error}".split())[:80]
                continue
            if clips is not None:
                differences[name] = float(np.abs(expected - clips).mean(axis=(2, 3, 4)).max())
                if differences[name] > MAX_DIFFERENCE:
                    failures[name] = f"other frames than ours: a mean difference of {differences[name]:.1f} in one"
        contestants = [name for name in seconds if name not in failures]
        for _ in range(repeats):
            for name in shuffled.sample(contestants, len(contestants)):
                seconds[name].append(processes[name].submit(timed, name, sample).result())
    return [
        _record(sample, name, seconds, failures.get(name, "")) | {"difference": differences.get(name)} for name in peers
    ]


def _record(sample: Sample, peer: str, seconds: dict[str, list[float]], failure: str) -> dict[str, Any]:
    rates = {name: [NUM_CLIPS / spent for spent in seconds[name]] for name in ("ours", peer)}
    medians = {name: statistics.median(values) if values else None for name, values in rates.items()}
    mine, theirs = medians["ours"], medians[peer]
    return {
        "benchmark": "decode",
        "case": f"{sample.case} / {peer}",
        "ours": mine,
        "peer": theirs,
        "ratio": mine / theirs if mine and theirs else None,
        "unit": "clips per CPU second",
        "spread": {name: [min(values), max(values)] for name, values in rates.items() if values},
        "failure": failure,
    }


def machine() -> dict[str, str]:
    """What the figures depend on."""
    versions = {}
    for package in ("av", "torch", "numpy", "opencv-python-headless", "decord", "torchcodec"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {"cpu": cpu, "cores": str(os.cpu_count()), "python": platform.python_version(), **versions}


def main() -> None:
    """Make the samples, measure, print a table, write the records."""
    parser = argparse.ArgumentParser(description="Clips per second of decode_clips against its peers.")
    parser.add_argument("--json", type=Path, help="write the records to this file")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each (default: 7)")
    parser.add_argument("--long-minutes", type=int, default=10, help="length of the 720p file (default: 10)")
    parser.add_argument("--long-repeats", type=int, default=3, help="timed runs of each on it (default: 3; 0: none)")
    parser.add_argument("--folder", type=Path, help="where the videos are, or are made to stay (default: not at all)")
    parser.add_argument("--keep-memory", action="store_true", help="glibc keeps what is freed")
    arguments = parser.parse_args()
    if arguments.keep_memory:  # for the processes that start from here on
        os.environ |= {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**40)}
    if os.environ.get("OMP_NUM_THREADS") != "1":
        print("set OMP_NUM_THREADS=1 as well")
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        samples = make_samples(folder, long_minutes=arguments.long_minutes if arguments.long_repeats else 0)
        print(f"{'case':40} {'ours':>8} {'peer':>8} {'ratio':>6} {'difference':>11}   clips per CPU second, medians")
        for sample in samples:
            is_long = sample.probe.duration_seconds > 60
            peers = [name for name in PEERS if not (is_long and name == "decode only")]
            repeats = arguments.long_repeats if is_long else arguments.repeats
            for record in measure(sample, repeats=repeats, peers=peers):
                records.append(record | {"machine": machine()})
                print(_row(record), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(records, indent=2) + "\n")


def make_samples(folder: Path, *, long_minutes: int) -> list[Sample]:
    """Write those of the videos that are not there, and plan their clips."""
    ucf, kinetics, minute, long = (
        folder / name for name in ("ucf.avi", "kinetics.mp4", "minute.mp4", f"{long_minutes}_minutes.mp4")
    )
    if not ucf.exists():
        write_video(ucf, seconds=7, fps=25, width=320, height=240, codec="mpeg4", bit_rate=600_000)
    if not kinetics.exists():
        write_video(kinetics, seconds=10, fps=30, width=340, height=256, codec="libx264", bit_rate=500_000)
    samples = [plan("ucf 320x240 avi 7 s", ucf), plan("kinetics 340x256 mp4 10 s", kinetics)]
    if long_minutes:
        if not minute.exists():
            write_video(minute, seconds=60, fps=30, width=1280, height=720, codec="libx264", bit_rate=3_000_000)
        if not long.exists():
            repeat_video(minute, long, times=long_minutes)
        samples.append(plan(f"720p mp4 {long_minutes} min", long))
    return samples


def _row(record: dict[str, Any]) -> str:
    if record["peer"] is None:
        return f"{record['case']:40} {record['ours']:8.1f} {'-':>8} {'-':>6} {'-':>11}   {record['failure']}"
    low, high = record["spread"]["ours"]
    difference = "-" if record["difference"] is None else f"{record['difference']:.2f}"
    return (
        f"{record['case']:40} {record['ours']:8.1f} {record['peer']:8.1f} {record['ratio']:6.2f} {difference:>11}"
        f"   ours {low:.1f}-{high:.1f}"
    )


if __name__ == "__main__":
    main()
