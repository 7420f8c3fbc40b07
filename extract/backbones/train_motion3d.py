"""Training of the shipped backbone ``motion3d``: with labels, on single motions.

    python -m scale_video.extract.backbones.train_motion3d --output motion3d.safetensors

The clips are single shots, with textures that no data set has. They come by the way of a data set's clips: a file, a
plan, extraction's decoder. They are not mirrored, since left and right are labels. The network never sees one
motion after another.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from scale_video.extract.backbones.motion3d import (
    FEATURE_DIM,
    INPUT_SIZE,
    NUM_FRAMES,
    Motion3dNetwork,
    standardise_clips,
    to_grey,
)
from scale_video.extract.clip_request import ClipRequest
from scale_video.extract.datasets.h264_encoding import encode_mp4
from scale_video.extract.datasets.render_shots import (
    FRAME_SIZE,
    FRAMES_PER_SECOND,
    Motion,
    draw_shot,
    render_shot,
)
from scale_video.extract.datasets.texture_bank import texture_bank
from scale_video.extract.decode import decode_clips
from scale_video.extract.draw_plan import ProbedVideos, draw_random
from scale_video.extract.views import AreaCrop, RandomView
from scale_video.store.clip_plan import Coordinate
from scale_video.store.video_probe import VideoProbe, VideoStatus

MOTIONS: Final = tuple(Motion)
SHOT_FRAMES: Final = 12
"""A clip takes eight of them, from anywhere."""
SHOT_SECONDS: Final = SHOT_FRAMES / FRAMES_PER_SECOND


@dataclass(frozen=True, slots=True)
class TrainingParameters:
    """What the shipped weights follow from, but for the last bits of a machine's arithmetic."""

    num_shots: int = 8_000
    num_epochs: int = 4
    """Each has its own clip and box of every shot."""
    batch_size: int = 64
    peak_learning_rate: float = 2e-3
    """Of AdamW; reached after a tenth of the steps, and followed by a cosine to zero."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that there is a step to make.

        Raises:
            ValueError: fewer shots than a batch takes, or no epoch.
        """
        if not 2 <= self.batch_size <= self.num_shots:
            raise ValueError(
                f"num_shots ({self.num_shots}) must be at least batch_size ({self.batch_size}), and that 2"
            )
        if self.num_epochs < 1:
            raise ValueError(f"num_epochs ({self.num_epochs}) must be 1 or more")


def train_motion3d(parameters: TrainingParameters) -> tuple[Motion3dNetwork, float]:
    """Train the network, with a linear classifier on top that is thrown away.

    Args:
        parameters: Sizes, rates and the seed.

    Returns:
        The network in evaluation mode, and its accuracy on the last epoch's clips: a fraction of 1.
    """
    clips, labels = _render_training_set(parameters)
    generator = torch.Generator().manual_seed(parameters.seed)
    with torch.random.fork_rng():
        torch.manual_seed(parameters.seed)
        network, classifier = Motion3dNetwork(), nn.Linear(FEATURE_DIM, len(MOTIONS))
    weights = [*network.parameters(), *classifier.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=parameters.peak_learning_rate)
    steps_per_epoch = len(clips) // parameters.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, parameters.peak_learning_rate, total_steps=parameters.num_epochs * steps_per_epoch, pct_start=0.1
    )
    network.train()
    for epoch in range(parameters.num_epochs):
        shuffled = torch.randperm(len(clips), generator=generator)
        num_right = 0
        for rows in shuffled[: steps_per_epoch * parameters.batch_size].view(steps_per_epoch, parameters.batch_size):
            logits = classifier(network(standardise_clips(clips[rows, epoch].float())))
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(logits, labels[rows]))
            optimizer.step()
            schedule.step()
            num_right += int((logits.argmax(dim=1) == labels[rows]).sum())
        accuracy = num_right / (steps_per_epoch * parameters.batch_size)
        report(f"epoch {epoch + 1} of {parameters.num_epochs}: accuracy {accuracy:.3f}")
    measure_statistics(network.eval(), clips[:, -1])
    return network, accuracy


@torch.inference_mode()
def measure_statistics(network: Motion3dNetwork, clips: Tensor) -> None:
    """Set the mean and the standard deviation that standardise the network's output, from grey clips (N, T, H, W)."""
    features = torch.cat([network(standardise_clips(batch.float())) for batch in torch.split(clips, 1024)])
    network.feature_mean.copy_(features.mean(dim=0))
    # A dimension that ReLU keeps at zero stays at zero.
    network.feature_std.copy_(features.std(dim=0).clamp(min=1e-3))


def _render_training_set(parameters: TrainingParameters) -> tuple[Tensor, Tensor]:
    """Grey clips, uint8 (num_shots, num_epochs, T, H, W), and motions, int64 (num_shots,)."""
    shape = (parameters.num_shots, parameters.num_epochs, NUM_FRAMES, INPUT_SIZE, INPUT_SIZE)
    grey = torch.empty(shape, dtype=torch.uint8)
    labels = torch.empty(parameters.num_shots, dtype=torch.int64)
    done = 0
    reels = motion_reels(
        parameters.num_shots, clips_per_shot=parameters.num_epochs, seed=parameters.seed, bank="motion3d"
    )
    for clips, reel_labels in reels:
        grey[done : done + len(clips)] = to_grey(clips).round().to(torch.uint8)
        labels[done : done + len(clips)] = reel_labels
        done += len(clips)
        if done % 2000 == 0:
            report(f"{done} of {parameters.num_shots} shots")
    return grey, labels


def motion_reels(num_shots: int, *, clips_per_shot: int, seed: int, bank: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Render single motions to files, and take clips out of them by extraction's own plan and decoder.

    Args:
        num_shots: Shots in all, of one motion each; every eight of them show the eight motions.
        clips_per_shot: Clips of a shot, each with its own start and box.
        seed: Of everything.
        bank: Name of the texture bank; shots of different banks have nothing in common.

    Yields:
        Clips of up to eight shots, uint8 RGB (shots, clips_per_shot, NUM_FRAMES, INPUT_SIZE, INPUT_SIZE, 3), and
        their indices into ``MOTIONS``, int64 (shots,).
    """
    textures = texture_bank(bank, seed)
    for first in range(0, num_shots, len(MOTIONS)):
        # One file holds several shots: opening an encoder costs as much as a shot, and a data set's files have cuts.
        # Their order is random, or the encoder's choices, which depend on the place in the file, could tell the motion.
        generator = np.random.default_rng([seed, *f"{bank}/{first}".encode()])
        labels = generator.permutation(len(MOTIONS))[: num_shots - first]
        shots = [draw_shot(generator, MOTIONS[label], num_frames=SHOT_FRAMES) for label in labels]
        reel = np.concatenate([render_shot(shot, textures) for shot in shots])
        names = [f"{bank}/{first + shot}" for shot in range(len(shots))]
        clips = _decode_reel(reel, _draw_clips(names, clips_per_shot=clips_per_shot, seed=seed))
        yield clips.view(len(shots), clips_per_shot, *clips.shape[1:]), torch.from_numpy(labels)


def _draw_clips(names: list[str], *, clips_per_shot: int, seed: int) -> NDArray[np.float32]:
    """Draw clips of shots, as if each were a file: coordinates of shape (shots, clips_per_shot, C)."""
    view = RandomView(
        num_clips=clips_per_shot,
        span_seconds=NUM_FRAMES / FRAMES_PER_SECOND,
        nominal_size=INPUT_SIZE,
        flip_probability=0,
        crop=AreaCrop(),
        seed=seed,
    )
    probe = VideoProbe(
        status=VideoStatus.OK,
        duration_seconds=SHOT_SECONDS,
        frames_per_second=FRAMES_PER_SECOND,
        num_frames=SHOT_FRAMES,
        height=FRAME_SIZE,
        width=FRAME_SIZE,
    )
    return draw_random(view, ProbedVideos.of(names, [probe] * len(names))).coordinates


def _decode_reel(reel: NDArray[np.uint8], coordinates: NDArray[np.float32]) -> Tensor:
    """Encode a reel of shots, and decode the clips of each: uint8 (shots * clips, T, S, S, 3)."""
    shot_starts = np.arange(len(coordinates)) * SHOT_SECONDS
    coordinates = coordinates.copy()
    coordinates[:, :, [Coordinate.START, Coordinate.END]] += shot_starts[:, None, None]
    coordinates = coordinates.reshape(-1, len(Coordinate))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "reel.mp4"
        path.write_bytes(encode_mp4(reel, frames_per_second=FRAMES_PER_SECOND))
        request = ClipRequest(
            coordinates, np.ones(len(coordinates), np.bool_), num_frames=NUM_FRAMES, frame_size=INPUT_SIZE
        )
        (decoded,) = decode_clips(path, [request], duration_seconds=len(reel) / FRAMES_PER_SECOND).clips
    assert decoded.valid.all(), decoded.error
    return torch.from_numpy(decoded.frames)


def report(line: str) -> None:
    """Show progress."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Train and write the weights."""
    defaults = TrainingParameters()
    parser = argparse.ArgumentParser(
        description="Train the backbone motion3d on rendered single motions: some three minutes on one core.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, help="file for the weights (.safetensors)")
    parser.add_argument("--num-shots", type=int, default=defaults.num_shots, help="shots to render")
    parser.add_argument("--num-epochs", type=int, default=defaults.num_epochs, help="passes over them")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of shots, clips and initial weights")
    options = parser.parse_args()
    started = time.monotonic()
    parameters = TrainingParameters(num_shots=options.num_shots, num_epochs=options.num_epochs, seed=options.seed)
    network, accuracy = train_motion3d(parameters)
    save_file(network.state_dict(), options.output)
    report(f"{options.output}: accuracy {accuracy:.3f} in the last epoch, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
