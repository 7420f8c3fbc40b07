"""Clips straight from stores: in memory the same batches as of features; streamed, the same videos in other order."""

import logging
import shutil
import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from scale_video.aggregate import residency as residency_module
from scale_video.aggregate import streamed_clips
from scale_video.aggregate.clip_source import Share
from scale_video.aggregate.data_module import ClipSetDataModule
from scale_video.aggregate.residency import Residence
from scale_video.aggregate.stored_clips import StoredClips, read_all
from scale_video.store.block_stream import BlockStream
from scale_video.store.errors import IncompleteStoreError
from scale_video.store.feature_block import FeatureBlock
from scale_video.store.read import FeatureStore
from scale_video.store.union import open_stores
from scale_video.store.write import BlockWriter

BLOCK = 8
SLOT_BYTES = BLOCK * 8 * 6 * 2
"""Of a block of 8 videos, 8 clips and 6 dimensions."""


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    deadline = time.monotonic() + 5
    while any(t.name.startswith("read-") for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [t.name for t in threading.enumerate() if t.name.startswith("read-")] == []


@pytest.fixture(scope="module")
def opened(write_store, make_features, tmp_path_factory):
    """Features of 84 videos, some of which cannot be used, and the same as a store that nobody may change."""
    data = make_features(num_videos=84, fewer=(8, 3, 0, 8, 7, 8, 0))
    return data, write_store(tmp_path_factory.mktemp("opened") / "a.zarr", data, block_size=BLOCK)


def module_of(store, config, *, rows=None, views=("random",), residency="stream", num_slots=4, share=None):
    """A data module that streams through so many blocks."""
    rows = np.arange(store.num_videos) if rows is None else rows
    clips = StoredClips(store, views, "tiny", rows, residency=residency)
    module = ClipSetDataModule(clips, config, num_ranks=share.num_ranks if share else 1)
    fixed = clips._fixed_bytes
    batches = 4 * module.batch_size // (share.num_ranks if share else 1) * 2 * 8 * 6
    limit = fixed + batches + num_slots * SLOT_BYTES * len(views)
    module._open(Residence(residency, limit), torch.device("cpu"), share=share or Share())
    return module


def videos_of(batches, data):
    """The row of every video of every batch, by the first clip's features."""
    flat = torch.from_numpy(data.features)
    return [
        [(flat == video[0, 0]).all(dim=2).any(dim=1).nonzero().item() for video in batch.features] for batch in batches
    ]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("residency", ["memory", "device"])
def test_resident_clips_give_the_batches_of_features(opened, tiny_config, residency):
    data, store = opened
    rows = np.random.default_rng(0).permutation(84)[:50]
    rows.sort()
    expected = ClipSetDataModule(data.take(rows), tiny_config)
    module = module_of(store, tiny_config, rows=rows, residency=residency)
    assert module.training_video_ids == expected.training_video_ids
    batches = list(module.batches(3))
    assert len(batches) == expected.steps_per_epoch > 8
    assert all(equal(*pair) for pair in zip(batches, expected.batches(3), strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_features_get_to_a_gpu_block_by_block(opened):
    stream = BlockStream(opened[1], "random", "tiny", np.arange(84))
    on_gpu = read_all(stream, torch.device("cuda", 0))
    assert on_gpu.is_cuda
    assert torch.equal(on_gpu.cpu(), read_all(stream, torch.device("cpu")))


def test_further_trainings_use_what_the_first_has_read(opened, monkeypatch):
    """Though it takes of what is available, and they would not fit a second time."""
    clips = StoredClips(opened[1], ["random"], "tiny", np.arange(84))
    device, given = torch.device("cpu"), {"share": Share(), "reserved_bytes": 0}
    monkeypatch.setattr(residency_module, "available_memory", lambda: 2 * clips.num_bytes)
    first = clips.residence(device, ranks_here=1)
    held = clips.open(first, device, **given)
    monkeypatch.setattr(residency_module, "available_memory", lambda: clips.num_bytes)
    again = clips.residence(device, ranks_here=1)
    assert again == first
    assert again.kind == "memory"
    assert clips.open(again, device, **given) is held


def test_a_stream_gives_each_video_once_with_the_sets_that_are_its_own(opened, tiny_config):
    data, store = opened
    expected = {}
    whole = ClipSetDataModule(data, tiny_config)
    for batch in whole.batches(1):
        masks = batch.masked_clips.view(4, 2) - 8 * torch.arange(4)[:, None]
        for row, *parts in zip(videos_of([batch], data)[0], batch.features, batch.coordinates, masks, strict=True):
            expected[row] = parts
    streamed = list(module_of(store, tiny_config).batches(1))
    seen = videos_of(streamed, data)
    counts = Counter(row for rows in seen for row in rows)
    assert len(streamed) == whole.steps_per_epoch == 20
    assert set(counts.values()) == {1}
    assert counts.keys() == expected.keys() == set(range(80)) - {78, 79} | {80, 82}
    for batch, rows in zip(streamed, seen, strict=True):
        masks = batch.masked_clips.view(4, 2) - 8 * torch.arange(4)[:, None]
        for row, *parts in zip(rows, batch.features, batch.coordinates, masks, strict=True):
            assert equal(parts, expected[row])


def test_a_stream_follows_from_seed_and_epoch_whatever_the_threads_do(opened, tiny_config, monkeypatch):
    store = opened[1]
    first = list(module_of(store, tiny_config).batches(2))
    read = BlockStream.read
    rng = np.random.default_rng(0)

    def hesitantly(self, block, out):
        time.sleep(rng.uniform(0, 0.01))
        read(self, block, out)

    monkeypatch.setattr(BlockStream, "read", hesitantly)
    again = list(module_of(store, tiny_config).batches(2))
    assert all(equal(*pair) for pair in zip(first, again, strict=True))
    monkeypatch.undo()
    for config, epoch in ((tiny_config, 3), (replace(tiny_config, seed=1), 2)):
        other = next(module_of(store, config).batches(epoch))
        assert not torch.equal(other.features, first[0].features)


def test_an_epoch_of_a_stream_can_begin_at_any_step(opened, tiny_config):
    module = module_of(opened[1], tiny_config)
    whole = list(module.batches(0))
    for first_step in (0, 1, 7, 19, 20):
        rest = list(module.batches(0, first_step=first_step))
        assert len(rest) == 20 - first_step
        assert all(equal(*pair) for pair in zip(rest, whole[first_step:], strict=True))


def test_a_stream_may_be_left_at_any_time(opened, tiny_config):
    batches = module_of(opened[1], tiny_config).batches(0)
    next(batches)
    batches.close()  # the fixture looks for threads


@pytest.mark.parametrize("num_slots", [3, 4, 6, 11])
def test_batches_mix_videos_of_many_blocks(opened, tiny_config, num_slots):
    module = module_of(opened[1], tiny_config, num_slots=num_slots)
    met, num_blocks = set(), []
    for epoch in range(30):
        for rows in module._clips.schedule(module._rows, batch_size=4, seed=0, epoch=epoch).tolist():
            blocks = [row // BLOCK for row in rows]
            num_blocks.append(len(set(blocks)))
            met |= {(a, b) for a in blocks for b in blocks if a < b}
    assert np.mean(num_blocks) > {3: 1.5, 4: 2, 6: 2.5, 11: 3}[num_slots]
    assert len(met) > 0.9 * (11 * 10 / 2)  # pairs of blocks


def test_the_order_of_a_stream_favours_nobody(opened, tiny_config):
    module = module_of(opened[1], tiny_config, num_slots=3)
    steps = np.zeros((84, 200))
    for epoch in range(200):
        schedule = module._clips.schedule(module._rows, batch_size=4, seed=0, epoch=epoch)
        steps[schedule.flatten().numpy(), epoch] = np.repeat(np.arange(20), 4)
    deviation = steps[module._rows].mean(axis=1) - 9.5
    assert np.abs(deviation).max() < 4 * np.sqrt((20**2 - 1) / 12 / 200)  # four standard errors


def test_with_room_for_all_blocks_a_stream_is_a_permutation(opened, tiny_config):
    module = module_of(opened[1], tiny_config, num_slots=100)
    of_one_block = []
    for epoch in range(100):
        schedule = module._clips.schedule(module._rows, batch_size=4, seed=0, epoch=epoch)
        blocks = schedule.flatten().numpy() // BLOCK
        of_one_block.append(np.mean(blocks[1:] == blocks[:-1]))
    assert np.mean(of_one_block) == pytest.approx(7 / 79, abs=0.01)  # as often as any two videos


def test_two_views_are_streamed_together(write_store, make_features, tmp_path, tiny_config):
    views = [make_features(num_videos=40, num_clips=8, fewer=fewer, seed=s) for s, fewer in ((0, (8, 3)), (1, (2, 8)))]
    store = write_store(tmp_path / "a.zarr", *views, block_size=BLOCK)
    whole = ClipSetDataModule(views[0], tiny_config, second_view=views[1])
    expected = {row: batch for batch in whole.batches(0) for row in enumerate(videos_of([batch], views[0])[0])}
    by_row = {row: (batch.features[place], batch.coordinates[place]) for (place, row), batch in expected.items()}
    streamed = list(module_of(store, tiny_config, views=("random", "augmented")).batches(0))
    assert len(streamed) == 9
    for batch in streamed:
        for place, row in enumerate(videos_of([batch], views[0])[0]):
            if row in by_row:
                assert equal((batch.features[place], batch.coordinates[place]), by_row[row])


def test_several_stores_are_streamed_as_one(write_store, make_features, tmp_path, tiny_config):
    parts = [make_features(num_videos=n, num_clips=k, seed=n) for n, k in ((30, 9), (21, 8))]
    parts[1] = replace(parts[1], video_ids=tuple(f"b{i}" for i in range(21)))
    write_store(tmp_path / "a.zarr", parts[0], block_size=8)
    write_store(tmp_path / "b.zarr", parts[1], block_size=5)
    store = open_stores(f"{tmp_path}/a.zarr,{tmp_path}/b.zarr")
    together = store.read_features("random", "tiny")
    resident = ClipSetDataModule(together, tiny_config)
    assert all(
        equal(*pair)
        for pair in zip(module_of(store, tiny_config, residency="memory").batches(0), resident.batches(0), strict=True)
    )
    module = module_of(store, tiny_config, num_slots=6)
    seen = [row for rows in videos_of(module.batches(0), together) for row in rows]
    assert len(seen) == len(set(seen)) == 48
    assert min(Counter(row < 30 for row in seen[:24]).values()) > 2


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_ranks_share_a_stream_and_take_equally_many_steps(opened, tiny_config, num_ranks):
    data, store = opened  # eleven blocks, the last ones with videos that cannot be used
    config = replace(tiny_config, batch_size=6)
    seen, reads = [], []
    for rank in range(num_ranks):
        module = module_of(store, config, share=Share(rank, num_ranks))
        batches = videos_of(module.batches(0), data)
        assert len(batches) == module.steps_per_epoch == 80 // 6
        assert all(len(rows) == 6 // num_ranks for rows in batches)
        seen.append([row for rows in batches for row in rows])
        reads.append({row // BLOCK for row in seen[-1]})
    everyone = [row for rows in seen for row in rows]
    assert len(everyone) == len(set(everyone)) == 78
    assert sum(map(len, reads)) <= 11 + num_ranks - 1  # but for the seams, no block is read twice


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_ranks_share_resident_batches(opened, tiny_config, num_ranks):
    data, store = opened
    whole = list(ClipSetDataModule(data, tiny_config).batches(5))
    parts = [
        list(module_of(store, tiny_config, residency="memory", share=Share(rank, num_ranks)).batches(5))
        for rank in range(num_ranks)
    ]
    for batch, *of_ranks in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([part.features for part in of_ranks]), batch.features)
        assert torch.equal(torch.cat([part.coordinates for part in of_ranks]), batch.coordinates)
        shifts = [part.masked_clips + rank * 4 // num_ranks * 8 for rank, part in enumerate(of_ranks)]
        assert torch.equal(torch.cat(shifts), batch.masked_clips)


def test_too_little_memory_for_a_batch_is_said(opened, tiny_config):
    module = module_of(opened[1], replace(tiny_config, batch_size=64), num_slots=2)
    message = (
        r"a batch of 64 videos lies in 9 blocks of 768 B, more than fit into the 1\.5 KiB that are left "
        r"for features; raise --memory-limit by \S+ GiB, or lower pretrain\.batch_size"
    )
    with pytest.raises(ValueError, match=message):
        list(module.batches(0))


def test_a_block_that_is_written_anew_ends_the_stream(opened, tiny_config, tmp_path):
    data, store = opened
    shutil.copytree(store.url, tmp_path / "a.zarr")
    module = module_of(FeatureStore.open(tmp_path / "a.zarr"), tiny_config)
    features = np.where(data.valid[..., None], data.features, np.float16(np.nan))[8:16] + np.float16(1)
    block = FeatureBlock(1, features, data.valid[8:16], np.ones(8, np.uint8), ("",) * 8)
    BlockWriter(tmp_path / "a.zarr", view="random", backbone="tiny").write(block)
    with pytest.raises(IncompleteStoreError, match=r"8 videos of random/tiny .* were extracted anew"):
        list(module.batches(0))


def test_an_epoch_that_goes_on_in_another_order_is_said(opened, tiny_config, caplog):
    before = module_of(opened[1], tiny_config)
    module = module_of(opened[1], tiny_config, num_slots=5)
    module.load_state_dict(before.state_dict())
    next(iter(module.batches(0)))
    assert "another order" not in caplog.text
    next(iter(module.batches(0, first_step=1)))
    assert (
        "this epoch began in another order of videos (4 blocks of 11 at a time, 1 readers, 1 ranks, now 5"
        in caplog.text
    )


def test_a_store_elsewhere_is_read_ahead_of_further_and_so_in_another_order(opened, tiny_config, monkeypatch):
    monkeypatch.setattr(streamed_clips, "_LOCAL_READERS", 1)  # as with many more blocks
    here = module_of(opened[1], tiny_config, num_slots=10)
    monkeypatch.setattr(BlockStream, "is_local", False)
    elsewhere = module_of(opened[1], tiny_config, num_slots=10)
    assert not torch.equal(next(here.batches(0)).features, next(elsewhere.batches(0)).features)
    assert here.state_dict() != elsewhere.state_dict()


def test_videos_that_are_left_out_are_counted(opened, tiny_config, caplog):
    with caplog.at_level(logging.WARNING):
        module_of(opened[1], tiny_config)
    assert caplog.messages == ["4 of 84 videos left out: fewer than 8 clips (2 of them without any)"]
