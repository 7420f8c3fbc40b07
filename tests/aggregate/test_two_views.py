"""One set of each video from each of two views, compared with a loop over videos and sets."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from scale_video.aggregate.checkpoint import TrainingRecord
from scale_video.aggregate.clip_sets import draw_masked_clips
from scale_video.aggregate.counter_random import Purpose, derived_seed, random_keys
from scale_video.aggregate.data_module import ClipSetDataModule
from scale_video.aggregate.lightning_module import SetPretraining
from scale_video.aggregate.normalise_coordinates import normalise_coordinates
from scale_video.aggregate.pretrain import pretrain


def two_views(make_features, *, fewer=((), ()), num_clips=(8, 11)):
    return [make_features(num_videos=9, num_clips=num_clips[s], fewer=fewer[s], seed=s) for s in (0, 1)]


def slow_batches(views, config, epoch):
    """Video by video: its place in the order, a key for every clip of either view, its masks."""

    def keys_of(purpose, row, per_row, view=0):
        seed = derived_seed(config.seed, epoch, purpose, view)
        return random_keys(torch.tensor([row]), per_row, seed=seed)[0]

    size = config.clips_per_set
    rows = [row for row in range(9) if all(view.valid[row].sum() >= size for view in views)]
    rows.sort(key=lambda row: keys_of(Purpose.ORDER, row, 1).item())
    batch_size = min(config.batch_size, len(rows))
    for first in range(0, len(rows) - batch_size + 1, batch_size):
        features, coordinates, masked = [], [], []
        for number, row in enumerate(rows[first : first + batch_size]):
            for place, view in enumerate(views):
                keys = keys_of(Purpose.CLIPS, row, view.valid.shape[1], place).tolist()
                clips = [clip for clip in np.argsort(keys) if view.valid[row, clip]][:size]
                features.append(view.features[row, clips])
                of_video = normalise_coordinates(view.coordinates[[row]], view.valid[[row]], flips=True)[0]
                coordinates.append(of_video[clips])
            of_masks = keys_of(Purpose.MASKS, row, 2 * size).view(2, size)
            drawn = draw_masked_clips(of_masks, masking=config.masking, fraction=config.mask_fraction)
            masked += (drawn + number * 2 * size).tolist()
        shape = (batch_size, 2, size, -1)
        yield np.stack(features).reshape(shape), np.stack(coordinates).reshape(shape), np.array(masked)


@pytest.mark.parametrize("fewer", [((), ()), ((8, 4, 3, 8), (5, 9, 11, 2))])
def test_batches_equal_a_slow_loop(make_features, tiny_config, fewer):
    views = two_views(make_features, fewer=fewer)
    module = ClipSetDataModule(views[0], tiny_config, second_view=views[1])
    for epoch in (0, 3):
        expected, found = list(slow_batches(views, tiny_config, epoch)), list(module.batches(epoch))
        assert len(found) == len(expected) > 0
        for batch, parts in zip(found, expected, strict=True):
            for tensor, array in zip(batch, parts, strict=True):
                np.testing.assert_array_equal(tensor.numpy(), array)


def test_a_view_needs_the_clips_of_one_set_alone(make_features, tiny_config, caplog):
    """Eight clips a view would have made two sets of four; here four are enough, in each of them."""
    caplog.set_level(logging.WARNING)
    views = two_views(make_features, fewer=((4, 3, 8), (11, 11, 3)), num_clips=(8, 11))
    module = ClipSetDataModule(views[0], tiny_config, second_view=views[1])
    assert module.training_video_ids == tuple(f"video{row}" for row in range(7))
    assert caplog.messages == ["2 of 9 videos left out: fewer than 4 clips in each view"]


def test_shuffled_positions_stay_in_their_view(make_features, tiny_config):
    views = two_views(make_features, num_clips=(4, 4))
    config = replace(tiny_config, shuffle_positions=True)
    batch = next(ClipSetDataModule(views[0], config, second_view=views[1]).batches(0))
    expected = [normalise_coordinates(view.coordinates, view.valid, flips=True) for view in views]
    for number, of_sets in enumerate(batch.features.numpy()):
        for view, coordinates in enumerate(expected):
            row = int(np.argmax((views[view].features == of_sets[view][0]).all(axis=2).any(axis=1)))
            given = batch.coordinates[number, view].numpy()
            np.testing.assert_array_equal(np.sort(given, axis=0), np.sort(coordinates[row], axis=0))


def test_two_views_that_do_not_go_together(make_features, tiny_config):
    features = make_features(num_videos=9)
    with pytest.raises(ValueError, match="the two views must hold the same videos in the same order"):
        ClipSetDataModule(features, tiny_config, second_view=make_features(num_videos=8))
    with pytest.raises(ValueError, match="the two views must hold features of one length, got 6 and 5"):
        ClipSetDataModule(features, tiny_config, second_view=make_features(num_videos=9, dim=5))
    message = r"clips_per_set \(4\) x 1 set needs 4 clips, but the view holds 3 per video; lower clips_per_set to <= 3 "
    with pytest.raises(ValueError, match=message + "or extract with --clips >= 4"):
        ClipSetDataModule(features, tiny_config, second_view=make_features(num_videos=9, num_clips=3))


def test_candidates_are_the_clips_of_both_views(make_features, tiny_config):
    """Whatever the second view holds changes what masked clips of the first are told apart from."""
    views = two_views(make_features, num_clips=(4, 4))
    record = TrainingRecord(config=replace(tiny_config, negatives="all"), feature_dim=6, training_video_ids=())
    module = SetPretraining(record).eval()
    data = ClipSetDataModule(views[0], record.config, second_view=views[1])
    batch = next(data.batches(0))
    of_first = batch.masked_clips[(batch.masked_clips // 4) % 2 == 0]  # masked clips of first sets
    other = batch.features.clone()
    other[:, 1] = torch.randn_like(other[:, 1])
    with torch.no_grad():
        losses = [
            module.contrasts(batch._replace(features=features, masked_clips=of_first))["masked_clip"].loss
            for features in (batch.features, other)
        ]
    assert not torch.isclose(*losses)


def test_training_on_two_views_is_repeatable_and_learns_from_both(make_features, tiny_config, tmp_path):
    views = two_views(make_features)

    def weights(name, second):
        path = pretrain(
            views[0], tiny_config, second_view=second, run_dir=tmp_path / name, provenance={}, progress=False,
            accelerator="cpu",
        )  # fmt: skip
        return torch.load(path, weights_only=True)["state_dict"]["aggregator.cls_token"]

    both = weights("a", views[1])
    assert torch.equal(both, weights("b", views[1]))
    assert not torch.equal(both, weights("c", None))
