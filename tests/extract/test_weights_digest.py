import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scale_video.extract.backbones.weights_digest import weights_digest

TENSORS = {"b": torch.arange(6, dtype=torch.float32).reshape(2, 3), "a": torch.tensor(7)}


def test_the_digest_is_what_its_description_says() -> None:
    expected = hashlib.sha256(
        b"a\0int64\0\0" + bytes([7, 0, 0, 0, 0, 0, 0, 0]) + b"b\0float32\0" + b"2,3\0" + TENSORS["b"].numpy().tobytes()
    )
    assert weights_digest(TENSORS) == expected.hexdigest()


def test_one_digest_whatever_the_file_the_order_and_the_strides(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "weights.safetensors")
    torch.save(TENSORS, tmp_path / "weights.pt")
    digest = weights_digest(TENSORS)
    assert weights_digest(load_file(tmp_path / "weights.safetensors")) == digest
    assert weights_digest(torch.load(tmp_path / "weights.pt", weights_only=True)) == digest
    assert weights_digest(dict(reversed(TENSORS.items()))) == digest
    assert weights_digest({**TENSORS, "b": TENSORS["b"].T.contiguous().T}) == digest
    assert weights_digest({**TENSORS, "b": TENSORS["b"].clone().requires_grad_()}) == digest


@pytest.mark.parametrize(
    "other",
    [
        {"b": TENSORS["b"]},
        {"c": TENSORS["b"], "a": TENSORS["a"]},
        {**TENSORS, "b": TENSORS["b"].reshape(3, 2)},
        {**TENSORS, "b": TENSORS["b"].view(torch.int32)},
        {**TENSORS, "b": TENSORS["b"] + torch.tensor([0.0, 0.0, 1e-5])},
    ],
    ids=["fewer", "renamed", "reshaped", "same bytes of another dtype", "other values"],
)
def test_any_difference_changes_the_digest(other: dict[str, Tensor]) -> None:
    assert weights_digest(other) != weights_digest(TENSORS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.complex64])
def test_dtypes_that_numpy_may_lack(dtype: torch.dtype) -> None:
    ones, zeros = torch.ones(3, dtype=dtype), torch.zeros(3, dtype=dtype)
    assert weights_digest({"a": ones}) == weights_digest({"a": ones.clone()}) != weights_digest({"a": zeros})
