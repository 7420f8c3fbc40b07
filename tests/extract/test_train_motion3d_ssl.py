import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from scale_video.extract.backbones import train_motion3d_ssl as training
from scale_video.extract.backbones.train_motion3d import motion_reels
from scale_video.extract.backbones.train_motion3d_ssl import (
    SslParameters,
    main,
    nt_xent,
    render_clips,
    share_found,
    train_motion3d_ssl,
)
from scale_video.extract.backbones.weights_digest import weights_digest

TINY = SslParameters(num_shots=8, clips_per_shot=2, num_steps=2, shots_per_step=2, copies_per_shot=2)


def slow_nt_xent(embeddings: list[list[float]], temperature: float) -> float:
    """Equation 1 of SimCLR, one clip at a time."""

    def similarity(a: list[float], b: list[float]) -> float:
        dot = sum(p * q for p, q in zip(a, b, strict=True))
        return dot / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b)) / temperature

    count, total = len(embeddings), 0.0
    for i, anchor in enumerate(embeddings):
        partner = embeddings[(i + count // 2) % count]
        others = sum(math.exp(similarity(anchor, other)) for k, other in enumerate(embeddings) if k != i)
        total -= math.log(math.exp(similarity(anchor, partner)) / others)
    return total / count


def test_the_loss_is_that_of_the_formula() -> None:
    embeddings = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    for temperature in (0.1, 0.7):
        expected = slow_nt_xent(embeddings.tolist(), temperature)
        assert nt_xent(embeddings, temperature=temperature).item() == pytest.approx(expected, rel=1e-5)


def test_partners_that_agree_are_found() -> None:
    unit = torch.eye(4)
    assert share_found(torch.cat([unit, 3 * unit])) == 1
    assert nt_xent(torch.cat([unit, 3 * unit]), temperature=0.01).item() == pytest.approx(0, abs=1e-6)
    assert share_found(torch.cat([unit, unit.roll(1, 0)])) == 0
    swapped = unit[[0, 1, 3, 2]]
    assert share_found(torch.cat([unit, swapped])) == 0.5


def test_the_loss_has_a_gradient_everywhere() -> None:
    embeddings = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    nt_xent(embeddings, temperature=0.1).backward()  # type: ignore[no-untyped-call]
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    assert (embeddings.grad != 0).any(dim=1).all()


def test_clips_are_those_of_the_shots_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training gets the same clips where there are no labels to read."""

    def without_labels(*args: Any, **kwargs: Any) -> Iterator[tuple[Tensor, None]]:
        yield from ((clips, None) for clips, _ in motion_reels(*args, **kwargs))

    with_labels = render_clips(TINY)
    assert with_labels.shape == (8, 2, 8, 32, 32)
    assert with_labels.dtype == torch.uint8
    monkeypatch.setattr(training, "motion_reels", without_labels)
    assert torch.equal(render_clips(TINY), with_labels)


def test_a_step_follows_the_gradient_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss that a step goes down is the formula's, of the views that were drawn."""
    seen: list[tuple[Tensor, float]] = []

    def spied(embeddings: Tensor, *, temperature: float) -> Tensor:
        loss = nt_xent(embeddings, temperature=temperature)
        seen.append((embeddings.detach().clone(), loss.item()))
        return loss

    monkeypatch.setattr(training, "nt_xent", spied)
    train_motion3d_ssl(TINY)
    assert len(seen) == TINY.num_steps
    for embeddings, loss in seen:
        assert embeddings.shape == (8, 128)  # 2 shots, 2 copies, 2 views
        assert loss == pytest.approx(slow_nt_xent(embeddings.tolist(), TINY.temperature), rel=1e-4)
    assert not torch.equal(seen[0][0], seen[1][0])


def test_training_runs_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "weights.safetensors"
    arguments = ["train_motion3d_ssl", "--output", str(output), "--num-shots", "8", "--num-steps", "1", "--seed", "5"]
    monkeypatch.setattr("sys.argv", arguments)
    main()
    again, found = train_motion3d_ssl(SslParameters(num_shots=8, num_steps=1, seed=5))
    assert 0 <= found <= 1
    assert not again.training
    assert weights_digest(load_file(output)) == weights_digest(again.state_dict())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_shots": 0}, r"num_shots \(0\) must be 1 or more"),
        ({"clips_per_shot": 1}, r"clips_per_shot \(1\) must be 2 or more"),
        ({"num_steps": 0}, r"num_steps \(0\) must be 1 or more"),
        ({"shots_per_step": 1}, r"shots_per_step \(1\) must be 2 or more"),
        ({"copies_per_shot": 0}, r"copies_per_shot \(0\) must be 1 or more"),
        ({"copies_per_shot": 17}, r"copies_per_shot \(17\) must be 16 or less"),
    ],
)
def test_training_without_a_step_is_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SslParameters(**sizes)
