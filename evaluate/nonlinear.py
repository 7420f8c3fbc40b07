"""The paper's nonlinear probe: a multi-layer perceptron on a video vector.

Source: SCALE (ICCV 2023), published evaluation code: D -> 2048 -> 2048 -> 512 with ReLU between, then a linear layer on
[x, its output]; AdamW at 3e-4. (Its evaluation declares a weight decay of 0 and then builds the optimiser from the
arguments of the pre-training, 1e-4; at this length of training the two are the same.) Where we depart: it works on one
vector per video, of any representation (published: on each raw clip feature, see ``per_clip.py``); the number of
epochs, and learning rate and weight decay where several are given, are chosen on held-out training groups (published:
the best of 60 epochs on test); features are standardised by the training statistics; the learning rate is constant, so
that each epoch is a place to stop.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from scale_video.evaluate.holdout import HoldOut
from scale_video.evaluate.prediction import Outputs
from scale_video.evaluate.targets import Task

_PREDICTION_BATCH = 4096  # rows; bounds the hidden activations to 32 MiB a layer


@dataclass(frozen=True, slots=True)
class NonlinearConfig:
    """Size and training of the perceptron; candidates for what the hold-out chooses."""

    learning_rates: tuple[float, ...] = (3e-4,)
    """Candidates, the first of which is used when there is no hold-out. By default the paper's alone: on 1000 videos
    a second one (1e-3) doubled the time, and a hold-out of a hundred chose between the two at random."""
    weight_decays: tuple[float, ...] = (0.0,)
    """Candidates, likewise; one by default: within so few steps a decay of .1 changed nothing."""
    max_epochs: int = 10
    """Epochs tried, 1 to this; all of them when there is no hold-out."""
    max_batch_size: int = 128
    """Videos a step; fewer on small data sets, so that an epoch has about eight steps."""
    hidden_dim: int = 2048
    output_dim: int = 512

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ValueError: a number that must be positive is not, or a list of candidates is empty.
        """
        if not self.learning_rates or not self.weight_decays:
            raise ValueError("learning_rates and weight_decays need at least one candidate each")
        if min(self.learning_rates) <= 0 or min(self.weight_decays) < 0:
            raise ValueError(
                f"learning rates must be positive and weight decays not negative, got {self.learning_rates} "
                f"and {self.weight_decays}"
            )
        for name in ("max_epochs", "max_batch_size", "hidden_dim", "output_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


DEFAULT_NONLINEAR = NonlinearConfig()


class Perceptron(nn.Module):
    """Three layers beside the identity, and a linear classifier on both."""

    def __init__(self, input_dim: int, num_outputs: int, *, hidden_dim: int, output_dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(input_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, output_dim),
        )
        self.classifier = nn.Linear(input_dim + output_dim, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map vectors (…, D) to outputs (…, O)."""
        outputs: Tensor = self.classifier(torch.cat([x, self.mlp(x)], dim=-1))
        return outputs


Predictor = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Vectors (n, D) to predictions (n, O)."""


def nonlinear_probe(
    train: NDArray[np.float32],
    train_targets: NDArray[Any],
    test: NDArray[np.float32],
    *,
    task: Task,
    hold_out: HoldOut,
    seed: int,
    config: NonlinearConfig = DEFAULT_NONLINEAR,
    device: str = "cpu",
) -> Outputs:
    """Choose on a hold-out, train anew on all training videos, and predict the test videos.

    The candidate and epoch with the highest held-out score win, of equal ones the first candidate, then the fewest
    epochs.

    Args:
        train: Vectors of N training videos, shape (N, D), finite.
        train_targets: Their targets, N of them, none absent.
        test: Vectors of the test videos, shape (N_test, D), finite.
        task: What is predicted.
        hold_out: Which of the training videos is chosen on.
        seed: Seeds initial weights and the order of the videos; the global generators stay as they are.
        config: Sizes and candidates.
        device: Torch device that trains.

    Returns:
        Predictions; the hyper-parameters ``learning_rate``, ``weight_decay`` and ``epochs``; a note where there was no
        hold-out.
    """
    training = partial(_training, task=task, seed=seed, config=config, device=device)
    rate, decay, epochs = config.learning_rates[0], config.weight_decays[0], config.max_epochs
    best = -np.inf
    if hold_out.held.size:
        for candidate_rate, candidate_decay in product(config.learning_rates, config.weight_decays):
            run = training(
                train[hold_out.fit],
                train_targets[hold_out.fit],
                learning_rate=candidate_rate,
                weight_decay=candidate_decay,
            )
            for epoch, predict in enumerate(islice(run, config.max_epochs), start=1):
                score = task.score(predict(train[hold_out.held]), train_targets[hold_out.held])
                if score > best:
                    rate, decay, epochs, best = candidate_rate, candidate_decay, epoch, score
    whole = slice(hold_out.num_refit)
    run = training(train[whole], train_targets[whole], learning_rate=rate, weight_decay=decay)
    predict = next(islice(run, epochs - 1, None))  # the state after the last of the chosen number of epochs
    hyperparameters = {"learning_rate": rate, "weight_decay": decay, "epochs": epochs}
    return Outputs(predict(test), hyperparameters, hold_out.note)


def _training(
    vectors: NDArray[np.float32],
    targets: NDArray[Any],
    *,
    task: Task,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    config: NonlinearConfig,
    device: str,
) -> Iterator[Predictor]:
    """Train without end; after each epoch yield the predictor as it then is (it changes as training goes on)."""
    scaler = StandardScaler().fit(vectors)
    inputs = torch.from_numpy(scaler.transform(vectors)).to(device)
    wanted = torch.from_numpy(targets).to(device)
    with torch.random.fork_rng(devices=[]):  # the initial weights are drawn on the CPU, whatever the device
        torch.default_generator.manual_seed(seed)
        model = Perceptron(
            vectors.shape[1], task.num_outputs, hidden_dim=config.hidden_dim, output_dim=config.output_dim
        ).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    order = torch.Generator().manual_seed(seed)
    batch_size = min(config.max_batch_size, max(4, len(vectors) // 8))

    @torch.inference_mode()
    def predict(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        batches = torch.split(torch.from_numpy(scaler.transform(rows)).to(device), _PREDICTION_BATCH)
        outputs = torch.cat([model(batch) for batch in batches])
        whole = torch.ones(len(outputs), 1, dtype=torch.bool, device=outputs.device)  # a video is one clip of its own
        return task.pool(outputs[:, None], whole, task.poolings[0]).cpu().numpy()

    while True:
        for batch in torch.split(torch.randperm(len(inputs), generator=order).to(device), batch_size):
            loss = task.loss(model(inputs[batch]), wanted[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        yield predict
