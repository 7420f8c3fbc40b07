from hashlib import blake2b

import numpy as np

from scale_video.aggregate.training_videos import TrainingVideos

IDS = tuple(f"a/ü {number}.mp4" for number in range(50))


def test_knows_those_it_was_made_of_and_no_others():
    seen = TrainingVideos.of(IDS[10:30])
    assert len(seen) == 20
    np.testing.assert_array_equal(seen.contains(IDS), [10 <= number < 30 for number in range(50)])
    assert seen.contains([]).shape == (0,)
    assert not TrainingVideos.of([]).contains(IDS).any()


def test_neither_order_nor_repetition_matters():
    one, other = TrainingVideos.of(IDS), TrainingVideos.of((*IDS[::-1], *IDS))
    np.testing.assert_array_equal(one.digests, other.digests)
    assert (np.diff(one.digests) > 0).all()


def test_a_digest_is_what_its_documentation_says():
    digest = blake2b("ü.mp4".encode(), digest_size=8).digest()
    assert TrainingVideos.of(["ü.mp4"]).digests[0] == int.from_bytes(digest, "little", signed=True)
