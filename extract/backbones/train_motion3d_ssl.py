"""Training of the shipped backbone ``motion3d-ssl``: the network of ``motion3d``, without labels.

    python -m scale_video.extract.backbones.train_motion3d_ssl --output motion3d-ssl.safetensors

Two clips of one shot are made to look different, and must find each other: among clips of other shots, and among
copies of themselves that run backwards, are mirrored or turned, where textures are no help (``motion_views.py``). The
labels of the shots are never read.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from scale_video.extract.backbones.motion3d import FEATURE_DIM, Motion3dNetwork, standardise_clips, to_grey
from scale_video.extract.backbones.motion_views import NUM_SYMMETRIES, draw_views
from scale_video.extract.backbones.train_motion3d import measure_statistics, motion_reels, report


@dataclass(frozen=True, slots=True)
class SslParameters:
    """What the shipped weights follow from, but for the last bits of a machine's arithmetic."""

    num_shots: int = 8_000
    """The shots of ``motion3d``: the same texture bank and seed."""
    clips_per_shot: int = 4
    """Each with its own start and box; two of them are a pair."""
    num_steps: int = 1_000
    shots_per_step: int = 32
    copies_per_shot: int = 4
    """Symmetries that each shot of a step is copied under: 32 shots, 4 copies, 2 views are a batch of 256 clips."""
    temperature: float = 0.1
    peak_learning_rate: float = 2e-3
    """Of AdamW; reached after a tenth of the steps, and followed by a cosine to zero."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that there is a step to make, and something to tell apart.

        Raises:
            ValueError: a number is out of its range.
        """
        least = {"num_shots": 1, "clips_per_shot": 2, "num_steps": 1, "shots_per_step": 2, "copies_per_shot": 1}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ValueError(f"{name} ({getattr(self, name)}) must be {limit} or more")
        if self.copies_per_shot > NUM_SYMMETRIES:
            raise ValueError(f"copies_per_shot ({self.copies_per_shot}) must be {NUM_SYMMETRIES} or less")


def train_motion3d_ssl(parameters: SslParameters) -> tuple[Motion3dNetwork, float]:
    """Train the network, with a projection head on top that is thrown away.

    Args:
        parameters: Sizes, rates and the seed.

    Returns:
        The network in evaluation mode, and how often a view found its partner in the last tenth of the steps: a
        fraction of 1.
    """
    clips = render_clips(parameters)
    generator = torch.Generator().manual_seed(parameters.seed)
    with torch.random.fork_rng():
        torch.manual_seed(parameters.seed)
        network, head = Motion3dNetwork(), _projection_head()
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=parameters.peak_learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, parameters.peak_learning_rate, total_steps=parameters.num_steps, pct_start=0.1
    )
    network.train()
    found: list[float] = []
    for step in range(parameters.num_steps):
        views = draw_views(
            clips,
            num_shots=parameters.shots_per_step,
            copies_per_shot=parameters.copies_per_shot,
            generator=generator,
        )
        embeddings = head(network(standardise_clips(views)))
        optimizer.zero_grad()
        torch.autograd.backward(nt_xent(embeddings, temperature=parameters.temperature))
        optimizer.step()
        schedule.step()
        found.append(share_found(embeddings.detach()))
        if (step + 1) % 100 == 0:
            report(f"step {step + 1} of {parameters.num_steps}: partner found {sum(found[-100:]) / 100:.3f}")
    measure_statistics(network.eval(), clips[:, 0])
    last = found[-max(1, parameters.num_steps // 10) :]
    return network, sum(last) / len(last)


def render_clips(parameters: SslParameters) -> Tensor:
    """Grey clips of the shots, uint8 (num_shots, clips_per_shot, T, H, W)."""
    reels = motion_reels(
        parameters.num_shots, clips_per_shot=parameters.clips_per_shot, seed=parameters.seed, bank="motion3d"
    )
    grey: list[Tensor] = []
    for clips, _ in reels:
        grey.append(to_grey(clips).round().to(torch.uint8))
        if len(grey) % 250 == 0:
            report(f"{sum(map(len, grey))} of {parameters.num_shots} shots")
    return torch.cat(grey)


def nt_xent(embeddings: Tensor, *, temperature: float) -> Tensor:
    """Contrast each view's partner with all other views of the batch.

    Source: SimCLR (ICML 2020, arXiv 2002.05709), normalised temperature-scaled cross-entropy.

    Args:
        embeddings: Shape (2 * N, P), of any length; rows i and N + i are a pair.
        temperature: Positive scale on cosine similarities.

    Returns:
        Mean loss, scalar.
    """
    similarities = _similarities(embeddings) / temperature
    return F.cross_entropy(similarities, _partners(len(embeddings)))


def share_found(embeddings: Tensor) -> float:
    """How many of the views are nearest to their partner: a fraction of 1."""
    return float((_similarities(embeddings).argmax(dim=1) == _partners(len(embeddings))).float().mean())


def _similarities(embeddings: Tensor) -> Tensor:
    """Cosines between any two, (2 * N, 2 * N), and minus infinity of each with itself."""
    unit = F.normalize(embeddings, dim=1)
    return (unit @ unit.T).fill_diagonal_(-torch.inf)


def _partners(count: int) -> Tensor:
    return torch.arange(count).roll(count // 2)


def _projection_head() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(FEATURE_DIM, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, FEATURE_DIM)
    )


def main() -> None:
    """Train and write the weights."""
    defaults = SslParameters()
    parser = argparse.ArgumentParser(
        description="Train the backbone motion3d-ssl, without labels: some seven minutes on one core.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, help="file for the weights (.safetensors)")
    parser.add_argument("--num-shots", type=int, default=defaults.num_shots, help="shots to render")
    parser.add_argument("--num-steps", type=int, default=defaults.num_steps, help="batches to learn from")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of shots, clips, views and initial weights")
    options = parser.parse_args()
    started = time.monotonic()
    parameters = SslParameters(num_shots=options.num_shots, num_steps=options.num_steps, seed=options.seed)
    network, found = train_motion3d_ssl(parameters)
    save_file(network.state_dict(), options.output)
    report(f"{options.output}: partner found {found:.3f} in the last steps, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
