"""Cores, memory, disk, limits and GPUs of this machine."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from scale_video.pipelines.finding import Finding, or_broken
from scale_video.store.amounts import memory_text, size_text

ENOUGH_MEMORY: Final = 4 << 30
ENOUGH_DISK: Final = 5_000_000_000
ENOUGH_FILES: Final = 1024
ENOUGH_SHARED: Final = 1 << 30
"""What several GPUs exchange gradients through; Docker gives 64 MiB."""
_SHARED: Final = Path("/dev/shm")


def look_at_machine() -> list[Finding]:
    """Cores, memory, disk and limits."""
    findings: list[Finding] = []
    for name, look in (
        ("cores", _cores),
        ("memory", _memory),
        ("disk here", lambda: _disk("disk here", Path.cwd())),
        ("temporary files", lambda: _disk("temporary files", Path(tempfile.gettempdir()))),
        ("open files", _open_files),
        ("shared memory", _shared_memory),
    ):
        with or_broken(findings, "machine", name, advice="the commands may work all the same", state="warning"):
            findings.append(look())
    return findings


def look_at_gpus() -> list[Finding]:
    """Each GPU that torch sees, after a small product on it; or why there is none."""
    import torch

    if not torch.cuda.is_available():
        return [_no_gpu(built_for=torch.version.cuda)]
    driver = _nvidia_smi("driver_version")
    findings = [
        Finding(
            "GPU", "driver", "ok", f"{driver or 'of unknown version'}; torch is built for CUDA {torch.version.cuda}"
        )
    ]
    for index in range(torch.cuda.device_count()):
        name = f"cuda:{index}"
        advice = "--device cpu does without it; a driver that fits this torch may mend it"
        with or_broken(findings, "GPU", name, advice=advice):
            ones = torch.ones(64, 64, device=name, dtype=torch.float16)
            if float((ones @ ones).sum()) != 64**3:
                raise ArithmeticError("a product of matrices came out wrong")
            free, total = torch.cuda.mem_get_info(index)
            with torch.cuda.device(index):
                bfloat16 = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16"
            found = f"{torch.cuda.get_device_name(index)}, {memory_text(free)} of {memory_text(total)} free, {bfloat16}"
            findings.append(Finding("GPU", name, "ok", found))
    return findings


def _no_gpu(*, built_for: str | None) -> Finding:
    there = _nvidia_smi("name")
    if not there:
        return Finding("GPU", "cuda", "missing", "none", "everything runs on the CPU, large backbones slowly")
    why = f"torch, built for CUDA {built_for}, does not see it" if built_for else "torch is built without CUDA"
    advice = "install a torch that fits the driver, see https://pytorch.org/get-started/locally/"
    return Finding("GPU", "cuda", "warning", f"{there} is there, but {why}", advice)


def _nvidia_smi(field: str) -> str:
    """What NVIDIA's program says of the first GPU; empty where it is not there or has nothing to say."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        result = subprocess.run(
            [program, f"--query-gpu={field}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next(iter(result.stdout.splitlines()), "").strip() if result.returncode == 0 else ""


def _cores() -> Finding:
    from scale_video.extract.cluster import num_cores
    from scale_video.pipelines.device_name import device_name

    usable, there = num_cores(), os.cpu_count() or 1
    among = "" if usable == there else f" of {there}"
    return Finding("machine", "cores", "ok", f"{usable}{among}, {device_name('cpu')}")


def _memory() -> Finding:
    import psutil

    from scale_video.aggregate.residency import available_memory

    available, total = available_memory(), psutil.virtual_memory().total
    found = f"{memory_text(available)} available of {memory_text(total)}"
    if available < ENOUGH_MEMORY:
        return Finding("machine", "memory", "warning", found, "fewer --workers and --decoders take less")
    return Finding("machine", "memory", "ok", found)


def _disk(name: str, folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    found = f"{size_text(usage.free)} free of {size_text(usage.total)}, {folder}"
    if usage.free < ENOUGH_DISK:
        return Finding("machine", name, "warning", found, "`scale-video plan` tells how large a store will be")
    return Finding("machine", name, "ok", found)


def _open_files() -> Finding:
    try:
        import resource
    except ImportError:  # not Unix
        return Finding("machine", "open files", "ok", "no limit is known here")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    texts = ["unlimited" if limit == resource.RLIM_INFINITY else str(limit) for limit in (soft, hard)]
    found = f"at most {texts[0]} a process (may be raised to {texts[1]})"
    if soft != resource.RLIM_INFINITY and soft < ENOUGH_FILES:
        advice = f"ulimit -n {min(4 * ENOUGH_FILES, hard) if hard > 0 else 4 * ENOUGH_FILES}, before many workers"
        return Finding("machine", "open files", "warning", found, advice)
    return Finding("machine", "open files", "ok", found)


def _shared_memory() -> Finding:
    """Decoded clips go through anonymous files, which this does not limit; only several GPUs need it."""
    import torch

    if not _SHARED.is_dir():
        return Finding("machine", "shared memory", "ok", f"no {_SHARED}; only several GPUs need one")
    size, num_gpus = shutil.disk_usage(_SHARED).total, torch.cuda.device_count()
    found = f"{memory_text(size)} in {_SHARED}"
    if num_gpus > 1 and size < ENOUGH_SHARED:
        advice = f"{num_gpus} GPUs exchange gradients through it; docker run --shm-size=1g gives more"
        return Finding("machine", "shared memory", "warning", found, advice)
    return Finding("machine", "shared memory", "ok", found)
