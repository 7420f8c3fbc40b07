from types import SimpleNamespace

import pytest
import torch

from scale_video.aggregate.checkpoint import CheckpointError
from scale_video.aggregate.held_signals import HeldSignals
from scale_video.aggregate.run_folder import PlainCheckpointIO, RunFolder


class _Unwritable:
    def __reduce__(self):
        raise OSError("no space left on device")


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    path, io = tmp_path / "last.ckpt", PlainCheckpointIO()
    io.save_checkpoint({"epoch": 1}, path)
    with pytest.raises(OSError, match="no space"):
        io.save_checkpoint({"epoch": 2, "bad": _Unwritable()}, path)
    assert io.load_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_two_that_write_at_once_write_whole_files(tmp_path, monkeypatch):
    """A second process is at it while the first one writes."""
    path, save = tmp_path / "last.ckpt", torch.save

    def interleaved(checkpoint, file):
        file.write(b"half of it")
        monkeypatch.setattr(torch, "save", save)
        PlainCheckpointIO().save_checkpoint({"epoch": 2}, path)
        assert PlainCheckpointIO().load_checkpoint(path) == {"epoch": 2}
        file.seek(0)
        save(checkpoint, file)

    monkeypatch.setattr(torch, "save", interleaved)
    PlainCheckpointIO().save_checkpoint({"epoch": 1}, path)
    assert PlainCheckpointIO().load_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_code_is_never_unpickled(tmp_path):
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "last.ckpt")
    with pytest.raises(Exception, match="weights_only"):
        PlainCheckpointIO().load_checkpoint(tmp_path / "last.ckpt", weights_only=False)


class Ranks:
    """What of a strategy decides together: this process, and others."""

    def __init__(self, *others: bool) -> None:
        self.others = others

    def reduce_boolean_decision(self, decision: bool, all: bool) -> bool:
        answers = [decision, *self.others]
        return answers.count(True) == len(answers) if all else True in answers


@pytest.mark.parametrize(
    ("resumes", "others", "alike"),
    [(True, (), True), (False, (), True), (True, (True,), True), (False, (False,), True),
     (True, (True, False), False), (False, (True, False), False)],
)  # fmt: skip
def test_all_devices_go_on_from_one_checkpoint_or_none_does(tmp_path, resumes, others, alike):
    """A node that does not see the run folder would begin anew, and the others wait for it for ever."""
    folder = RunFolder(tmp_path / "run", checkpoint_every_seconds=60, signals=HeldSignals(), resumes=resumes)
    trainer = SimpleNamespace(strategy=Ranks(*others))
    if alike:
        folder.setup(trainer, None, "fit")
        return
    with pytest.raises(CheckpointError, match=r"not all processes find the checkpoint in '.*run'; name a run folder"):
        folder.setup(trainer, None, "fit")
