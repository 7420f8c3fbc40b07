from dataclasses import replace

import pytest
import torch

from scale_video.aggregate.checkpoint import TrainingRecord
from scale_video.aggregate.data_module import ClipSetDataModule
from scale_video.aggregate.initial_aggregator import initial_aggregator
from scale_video.aggregate.lightning_module import SetPretraining, warmup_cosine, weight_decay_groups


def make(config):
    return SetPretraining(TrainingRecord(config=config, feature_dim=6, training_video_ids=()))


def test_total_is_the_mean_of_both_losses(make_features, tiny_config):
    module = make(tiny_config)
    contrasts = module.contrasts(next(ClipSetDataModule(make_features(), tiny_config).batches(0)))
    expected = (contrasts["masked_clip"].loss + contrasts["set"].loss) / 2
    torch.testing.assert_close(module.total_loss(contrasts), expected)
    assert (contrasts["masked_clip"].num_rows, contrasts["masked_clip"].num_candidates) == (8, 32)
    assert contrasts["set"].num_candidates == 4


def test_tasks_see_the_right_tokens(make_features, tiny_config):
    """The step's losses, put together again from the parts one by one."""
    config = replace(tiny_config, negatives="masked")
    batch = next(ClipSetDataModule(make_features(), config).batches(0))
    module = make(config).eval()
    with torch.no_grad():
        contrasts = module.contrasts(batch)
        predictions, targets, embeddings = [], [], {}
        for video in range(4):
            for side in range(2):
                first = (video * 2 + side) * 4
                masked = [clip - first for clip in batch.masked_clips.tolist() if first <= clip < first + 4]
                features = batch.features[video, side].float()
                cls, clips = module.aggregator(
                    features[None], batch.coordinates[video, side][None], masked_clips=torch.tensor(masked)
                )
                embeddings[video, side] = module.set_head(cls[0])
                predictions += [module.masked_clip_task.predict(clips[0, k]) for k in masked]
                targets += [module.masked_clip_task.target(features[k]) for k in masked]
        losses = [-((p @ torch.stack(targets).T / 0.2).log_softmax(0)[own]) for own, p in enumerate(predictions)]
        torch.testing.assert_close(contrasts["masked_clip"].loss, torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)
        losses = []
        for video in range(4):
            for side in range(2):
                others = torch.stack([embeddings[other, 1 - side] for other in range(4)])
                losses.append(-(others @ embeddings[video, side] / 0.2).log_softmax(0)[video])
        torch.testing.assert_close(contrasts["set"].loss, torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("left_out", "left"), [("masked_clip_weight", "set"), ("set_weight", "masked_clip")])
def test_a_task_of_weight_zero_is_left_out(make_features, tiny_config, left_out, left):
    config = replace(tiny_config, **{left_out: 0.0})
    contrasts = make(config).contrasts(next(ClipSetDataModule(make_features(), config).batches(0)))
    assert list(contrasts) == [left]


@pytest.mark.parametrize("negatives", ["all", "masked"])
def test_nothing_masked_is_no_error(make_features, tiny_config, negatives):
    config = replace(tiny_config, masking="independent", negatives=negatives)
    batch = next(ClipSetDataModule(make_features(), config).batches(0))
    module = make(config)
    contrasts = module.contrasts(batch._replace(masked_clips=torch.zeros(0, dtype=torch.int64)))
    module.total_loss(contrasts).backward()
    assert contrasts["masked_clip"].loss.item() == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_it_starts_from_the_initial_aggregator(tiny_config):
    config = replace(tiny_config, seed=7)
    started, initial = make(config).aggregator.state_dict(), initial_aggregator(config, feature_dim=6, seed=7)
    assert all(torch.equal(started[name], value) for name, value in initial.state_dict().items())


def test_what_decays(tiny_config):
    module = make(tiny_config)
    names = {id(p): name for name, p in module.named_parameters()}
    decayed, kept = ({names[id(p)] for p in g["params"]} for g in weight_decay_groups(module, weight_decay=0.1))
    assert decayed | kept == set(names.values())
    assert {"aggregator.cls_token", "aggregator.mask_token", "aggregator.norm.weight"} <= kept
    assert {name for name in names.values() if name.endswith("bias")} <= kept
    assert all("norm" in name or "bias" in name or "token" in name for name in kept)
    assert {"aggregator.project.weight", "set_head.layers.1.weight"} <= decayed
    assert [g["weight_decay"] for g in weight_decay_groups(module, weight_decay=0.1)] == [0.1, 0]


def test_warm_up_and_cosine():
    factors = [warmup_cosine(step, total_steps=40, warmup_fraction=0.1) for step in range(41)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert factors[4 + 18] == pytest.approx(0.5)  # half of the 36 steps after the warm-up
    assert factors[4 + 9] == pytest.approx((1 + 2**-0.5) / 2)
    assert factors[40] == pytest.approx(0)
    assert warmup_cosine(0, total_steps=3, warmup_fraction=0) == 1
