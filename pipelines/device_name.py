"""What a GPU or a processor is called."""

import platform
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def device_name(device: str) -> str:
    """The name of what this process computes on: ``NVIDIA H100 80GB HBM3``, ``AMD EPYC 7763 64-Core Processor``.

    Args:
        device: ``cuda``, with a number or without, or ``cpu``.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device) if torch.cuda.is_available() else "GPU"
    try:
        lines = _CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0]
