from dataclasses import replace

import numpy as np
import pytest
import torch

from scale_video.aggregate.clip_source import Share
from scale_video.aggregate.data_module import ClipSetDataModule
from scale_video.aggregate.normalise_coordinates import normalise_coordinates
from scale_video.aggregate.residency import Residence
from scale_video.store.clip_features import ClipFeatures


def located(batch, data):
    """Row and clip of every clip of a batch, (N * S * K, 2), found by its features."""
    flat = torch.from_numpy(data.features).flatten(0, 1)
    index = [(flat == clip).all(dim=1).nonzero().item() for clip in batch.features.flatten(0, 2)]
    return np.stack(np.divmod(index, data.valid.shape[1]), axis=1)


def test_batches_hold_disjoint_sets_of_one_video_each(make_features, tiny_config):
    data = make_features(num_videos=9, num_clips=10, fewer=(8, 9))
    batches = list(ClipSetDataModule(data, tiny_config).batches(0))
    seen = []
    for batch in batches:
        assert batch.features.shape == (4, 2, 4, 6)
        assert batch.features.dtype == torch.float16
        assert batch.masked_clips.shape == (4 * 2 * 1,)
        places = located(batch, data).reshape(4, 8, 2)
        assert (places[:, :, 0] == places[:, :1, 0]).all()
        assert all(len(set(clips)) == 8 for clips in places[:, :, 1].tolist())
        assert data.valid[places[..., 0], places[..., 1]].all()
        seen += places[:, 0, 0].tolist()
    assert len(batches) == 2  # the ninth video does not fill a batch
    assert len(set(seen)) == 8


def test_clips_come_with_their_coordinates(make_features, tiny_config):
    data = make_features(num_videos=4, num_clips=12, fewer=(9,))
    expected = normalise_coordinates(data.coordinates, data.valid, flips=True)  # over all clips, not the drawn ones
    batch = next(ClipSetDataModule(data, tiny_config).batches(0))
    rows, clips = located(batch, data).T
    np.testing.assert_array_equal(batch.coordinates.flatten(0, 2).numpy(), expected[rows, clips])


def test_shuffled_positions_are_those_of_other_clips_of_the_video(make_features, tiny_config):
    data = make_features(num_videos=4, num_clips=8)
    expected = normalise_coordinates(data.coordinates, data.valid, flips=True)
    module = ClipSetDataModule(data, replace(tiny_config, shuffle_positions=True))
    assignments = []
    for epoch in range(3):
        batch = next(module.batches(epoch))
        rows, clips = located(batch, data).T
        given = batch.coordinates.flatten(0, 2).numpy()
        kept = (given == expected[rows, clips]).all(axis=1)
        assert kept.mean() < 0.5
        for row in range(4):  # all eight clips are drawn: the same coordinates, handed out anew
            np.testing.assert_array_equal(np.sort(given[rows == row], axis=0), np.sort(expected[row], axis=0))
        assignments.append(given[np.lexsort((clips, rows))].tobytes())
    assert len(set(assignments)) == 3


def test_an_epoch_follows_from_its_number_and_the_seed(make_features, tiny_config):
    data = make_features()

    def drawn(config, epoch):
        return [tensor for batch in ClipSetDataModule(data, config).batches(epoch) for tensor in batch]

    first, again = drawn(tiny_config, 3), drawn(tiny_config, 3)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], drawn(tiny_config, 4)[0])
    assert not torch.equal(first[0], drawn(replace(tiny_config, seed=1), 3)[0])


def test_an_epoch_can_begin_at_any_step(make_features, tiny_config):
    module = ClipSetDataModule(make_features(num_videos=13), tiny_config)
    whole = list(module.batches(2))
    assert len(whole) == 3
    for first_step in range(4):
        rest = list(module.batches(2, first_step=first_step))
        assert len(rest) == 3 - first_step
        for batch, expected in zip(rest, whole[first_step:], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(batch, expected, strict=True))


def test_the_sets_of_a_video_do_not_depend_on_its_batch(make_features, tiny_config):
    data = make_features(num_videos=12)

    def sets_by_video(batch_size):
        module = ClipSetDataModule(data, replace(tiny_config, batch_size=batch_size))
        found = {}
        for batch in module.batches(1):
            masked = batch.masked_clips.view(batch_size, -1) - torch.arange(batch_size)[:, None] * 8
            for row, features, masks in zip(located(batch, data)[::8, 0], batch.features, masked, strict=True):
                found[row] = (features, masks.sort().values)
        return found

    of_four, of_six = sets_by_video(4), sets_by_video(6)
    assert of_four.keys() == of_six.keys() == set(range(12))
    for row, parts in of_four.items():
        assert all(torch.equal(a, b) for a, b in zip(parts, of_six[row], strict=True))


def test_the_global_random_state_is_left_alone(make_features, tiny_config):
    state = torch.get_rng_state()
    list(ClipSetDataModule(make_features(), tiny_config).batches(0))
    assert torch.equal(torch.get_rng_state(), state)


def test_videos_with_too_few_clips_are_left_out_and_counted(make_features, tiny_config, caplog):
    data = make_features(num_videos=7, fewer=(8, 7, 3))
    module = ClipSetDataModule(data, tiny_config)
    assert module.training_video_ids == ("video0", "video1", "video2", "video3", "video4")
    assert caplog.messages == ["2 of 7 videos left out: fewer than 8 clips"]


def test_a_batch_of_more_videos_than_there_are_is_shrunk_and_said(make_features, tiny_config, caplog):
    module = ClipSetDataModule(make_features(num_videos=3), tiny_config)
    assert module.batch_size == 3
    assert module.steps_per_epoch == len(list(module.batches(0))) == 1
    assert caplog.messages == ["batch_size lowered from 4 to the 3 usable videos"]


def test_fewer_clips_than_two_sets_need(make_features, tiny_config):
    message = (
        r"clips_per_set \(5\) x 2 sets needs 10 clips, but the view holds 8 per video; "
        r"lower clips_per_set to <= 4 or extract with --clips >= 10"
    )
    with pytest.raises(ValueError, match=message):
        ClipSetDataModule(make_features(), replace(tiny_config, clips_per_set=5))


@pytest.mark.parametrize(("num_videos", "fewer"), [(1, ()), (3, (7, 7))])
def test_fewer_than_two_usable_videos(make_features, tiny_config, num_videos, fewer):
    message = (
        rf"needs at least 2 with 8 valid clips each, got 1 of {num_videos}; add videos or lower clips_per_set \(4\)"
    )
    with pytest.raises(ValueError, match=message):
        ClipSetDataModule(make_features(num_videos=num_videos, fewer=fewer), tiny_config)


def test_read_only_features_are_fine(make_features, tiny_config):
    data = make_features()
    for array in (data.features, data.coordinates, data.valid):
        array.setflags(write=False)
    frozen = ClipFeatures(data.video_ids, data.features, data.coordinates, data.valid)
    assert next(ClipSetDataModule(frozen, tiny_config).batches(0)).features.isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("masking", ["exact", "independent"])
def test_batches_on_a_gpu_are_made_without_waiting_and_equal_those_on_a_cpu(make_features, tiny_config, masking):
    config = replace(tiny_config, masking=masking)
    expected = ClipSetDataModule(make_features(), config).batches(0)
    module = ClipSetDataModule(make_features(), config)
    module._open(Residence("device"), torch.device("cuda", 0), share=Share())
    batches = module.batches(0)
    made = [next(batches)]  # an epoch's order may be waited for
    torch.cuda.set_sync_debug_mode("error")
    try:
        made += batches
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for batch, other in zip(made, expected, strict=True):
        assert all(torch.equal(ours.cpu(), theirs) for ours, theirs in zip(batch, other, strict=True))
