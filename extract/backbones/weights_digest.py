"""The identity of a network's weights, whichever file they came from."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash tensors: the same names, dtypes, shapes and values give the same digest, on any device and in any order.

    Args:
        tensors: Tensors by name, for example a ``state_dict()``; dense, of any dtype and shape.

    Returns:
        sha256 in hexadecimal, over ``name NUL dtype NUL shape NUL bytes`` of each tensor, sorted by name; dtypes as
        ``float32``, shapes as ``48,8,5,5``, bytes in C order and as the machine holds them.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        shape = ",".join(str(size) for size in tensor.shape)
        digest.update(f"{name}\0{dtype}\0{shape}\0".encode())
        # Seen as bytes, since NumPy lacks some of torch's dtypes (bfloat16).
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
