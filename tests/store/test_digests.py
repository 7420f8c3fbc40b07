"""That the digests are those of FORMAT.md is tested by ``test_independent_reader.py``, on real stores."""

from types import ModuleType

import pytest

from scale_video.store import digests


class Zeros:
    """A hash whose digest is 0, which one block in 2**64 has."""

    def update(self, content: bytes) -> None:
        pass

    def digest(self) -> bytes:
        return bytes(8)


def test_a_mark_is_never_0_which_means_uncommitted(small: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert digests.block_digest(small.make_block(0), plan="00" * 16) > 1
    monkeypatch.setattr(digests.hashlib, "blake2b", lambda digest_size: Zeros())
    assert digests.block_digest(small.make_block(0), plan="00" * 16) == 1
