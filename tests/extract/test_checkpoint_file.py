import argparse
import copy
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from scale_video.extract.backbones.checkpoint_file import (
    WEIGHTS_VARIABLE,
    find_weights,
    load_strictly,
    read_checkpoint,
    state_dict_of,
    take_prefix,
    weights_folder,
)
from scale_video.extract.backbones.weights_digest import weights_digest

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([7.0, 8.0])}
WHERE = {"file_name": "w.pth", "download": "https://example.org/w.pth"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of weights."""
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    return tmp_path


def test_the_folder_of_weights(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv(WEIGHTS_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert weights_folder() == Path("/home/me/.cache/scale-video/weights")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert weights_folder() == Path("/cache/scale-video/weights")
    monkeypatch.setenv(WEIGHTS_VARIABLE, "~/weights")
    assert weights_folder() == Path("/home/me/weights")


def test_where_weights_are_found(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    for name in ("w.pth", "other.pth", "elsewhere/w.pth"):
        (folder / name).touch()
    assert find_weights(None, **WHERE) == folder / "w.pth"
    assert find_weights("other.pth", **WHERE) == folder / "other.pth"
    assert find_weights(str(folder / "elsewhere/w.pth"), **WHERE) == folder / "elsewhere/w.pth"
    monkeypatch.chdir(folder / "elsewhere")
    assert find_weights("w.pth", **WHERE) == folder / "elsewhere/w.pth"  # a path comes first
    monkeypatch.setenv("HOME", str(folder))
    assert find_weights("~/other.pth", **WHERE) == folder / "other.pth"


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (None, "the weights 'w.pth' are not on this machine"),
        ("none.pth", "no file 'none.pth'"),
        ("/no/w.pth", "no file '/no/w.pth'"),
    ],
)
def test_weights_that_are_not_there(folder, source, what):
    with pytest.raises(ValueError) as error:
        find_weights(source, **WHERE)
    way_out = f"get w.pth from https://example.org/w.pth and put it into {folder}, or give its path: FAMILY:PATH"
    assert str(error.value) == f"{what}; {way_out}"


def test_a_folder_is_no_file_of_weights(folder):
    with pytest.raises(ValueError, match=r"^no file "):
        find_weights(str(folder), **WHERE)


def test_one_digest_whatever_the_file(tmp_path):
    torch.save(TENSORS, tmp_path / "a.pth")
    torch.save({"model_state": OrderedDict(reversed(TENSORS.items()))}, tmp_path / "b.pyth")
    torch.save(TENSORS, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    save_file(TENSORS, tmp_path / "d.safetensors")
    digests = set()
    for path in sorted(tmp_path.iterdir()):
        network = nn.Linear(3, 2)
        tensors = state_dict_of(read_checkpoint(path), holders=("model_state",), source=path.name)
        load_strictly(network, tensors, source=path.name)
        digests.add(weights_digest(network.state_dict()))
    assert digests == {weights_digest(TENSORS)}


def test_what_a_training_keeps_beside_the_weights_is_read(tmp_path):
    """Its options, and rates that NumPy computed."""
    groups = [{"lr": np.float64(0.25), "steps": np.int64(3), "decay": np.float32(0.5)}]
    torch.save({"args": argparse.Namespace(lr=1.0), "optimizer": groups, "model": TENSORS}, tmp_path / "w.pth")
    content = read_checkpoint(tmp_path / "w.pth")
    assert content["args"].lr == 1.0
    assert content["optimizer"] == [{"lr": 0.25, "steps": 3, "decay": 0.5}]


class RunsCode:
    """Unpickled without care, it makes a folder."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, ("made-by-a-pickle",)


def cut(path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("write", "name", "reason"),
    [
        (lambda path: path.write_text("<html>Not found</html>"), "w.pth", "torch.save did not write it, or .*"),
        (lambda path: path.write_text("<html>Not found</html>"), "w.safetensors", ".*header.*"),
        (lambda path: path.write_bytes(b""), "w.pyth", "EOFError"),
        (lambda path: path.write_bytes(b""), "w.safetensors", ".*header.*"),
        (cut, "w.pth", "PytorchStreamReader failed reading zip archive: [^.]*"),
        (
            lambda path: torch.save({"a": TENSORS, "b": RunsCode()}, path),
            "w.pth",
            r"it names code, which is never run: \w+.mkdir",
        ),
        (
            lambda path: torch.save([RunsCode()], path, _use_new_zipfile_serialization=False),
            "w.pth",
            "torch.save did not write it, or it is damaged, or names code, which is never run",
        ),
        (
            lambda path: torch.save({"a": np.array([RunsCode()])}, path),
            "w.bin",
            r"it names code, which is never run: .*, numpy.ndarray, \w+.mkdir",
        ),
        (
            lambda path: torch.save({"a": nn.Linear(1, 1)}, path),
            "w.pt",
            "it names code, which is never run: torch.nn.modules.linear.Linear",
        ),
    ],
    ids=["text", "text-st", "empty", "empty-st", "cut", "code", "code-in-a-pickle", "code-in-an-array", "module"],
)
def test_files_that_cannot_be_read(tmp_path, monkeypatch, write, name, reason):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    with pytest.raises(
        ValueError, match=rf"^cannot read the weights '.*/{name}' \({reason}\); get them again$"
    ) as error:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(error.value)
    assert "weights_only" not in str(error.value)  # torch says there how to run the code
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_the_first_holder_counts():
    content = {"teacher": {"a": torch.zeros(1)}, "model": TENSORS, "epoch": 3, "b": torch.ones(1)}
    assert state_dict_of(content, holders=("model", "teacher"), source="w").keys() == TENSORS.keys()
    assert state_dict_of(content, holders=("teacher", "model"), source="w").keys() == {"a"}
    assert state_dict_of(content, holders=("epoch",), source="w").keys() == {"b"}


@pytest.mark.parametrize("content", [{}, [1, 2], None, torch.zeros(1), {"model": {"epoch": 3}}, {"epoch": 3}])
def test_files_without_weights(content):
    with pytest.raises(ValueError, match=r"^'w.pth' holds no weights \(looked for model\); choose another file$"):
        state_dict_of(content, holders=("model",), source="w.pth")


def test_a_prefix_parts_the_tensors():
    tensors = {f"backbone.{name}": tensor for name, tensor in TENSORS.items()}
    taken, others = take_prefix({"head.0.bias": torch.zeros(1), **tensors}, prefix="backbone.", source="w")
    assert taken == TENSORS
    assert others == ["head.0.bias"]


def test_a_prefix_that_no_tensor_has():
    message = r"^the weights 'w.pth' hold no tensors backbone.\*, the first there is bias; choose the file that belongs"
    with pytest.raises(ValueError, match=message):
        take_prefix(TENSORS, prefix="backbone.", source="w.pth")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": None}, "^the weights 'w.pth' lack 1 of 2 tensors, the first: bias; choose the file that belongs"),
        ({"bias": None, "weight": None}, "^the weights 'w.pth' lack 2 of 2 tensors, the first: bias; choose the file"),
        (
            {"weight": torch.zeros(3, 2)},
            r"^weight of the weights 'w.pth' has the shape \(3, 2\), expected \(2, 3\); choose the file that belongs",
        ),
        ({"bias": torch.tensor(1.0)}, r"^bias of the weights 'w.pth' has the shape \(\), expected \(2,\); choose"),
    ],
)
def test_tensors_that_do_not_fit(changes, message):
    tensors: dict[str, Any] = {name: tensor for name, tensor in (TENSORS | changes).items() if tensor is not None}
    network = nn.Linear(3, 2)
    before = weights_digest(network.state_dict())
    with pytest.raises(ValueError, match=message):
        load_strictly(network, tensors, source="w.pth")
    assert weights_digest(network.state_dict()) == before
    with pytest.raises(ValueError, match=r"(first: |^)net\.(bias|weight)"):
        load_strictly(network, tensors, source="w.pth", prefix="net.")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_network_holds_copies_of_its_own_dtype(device):
    tensors = {name: tensor.half() for name, tensor in TENSORS.items()} if device == "cpu" else copy.deepcopy(TENSORS)
    network = nn.Linear(3, 2, device=device)
    load_strictly(network, tensors, source="w")
    tensors["bias"][:] = 0
    assert network.weight.dtype == torch.float32
    assert weights_digest(network.state_dict()) == weights_digest(
        {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([7.0, 8.0])}
    )


def test_what_is_left_over_is_named(caplog):
    network = nn.Linear(3, 2)
    more = ["queue", "head.bias", "head.0.a", "head.0.b", "s1.0.bn.num_batches_tracked", "s1.1.bn.num_batches_tracked"]
    with caplog.at_level(logging.INFO, "scale_video"):
        load_strictly(network, TENSORS, source="w.pth")
        load_strictly(
            network, {**TENSORS, **dict.fromkeys(more, torch.zeros(1))}, source="w.pth", unused=["decoder.0.1"]
        )
    assert caplog.messages == [
        "of w.pth, 7 tensors are not used, and not needed: "
        "decoder.0.*, head.0.* (2), head.bias, queue, *.num_batches_tracked (2)"
    ]
