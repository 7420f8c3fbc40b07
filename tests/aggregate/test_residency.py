from types import SimpleNamespace

import psutil
import pytest
import torch

from scale_video.aggregate import residency
from scale_video.aggregate.residency import available_memory, decided_residence

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
GIB = 2**30


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    """40 GiB that are available, and a GPU with 20 that are free."""
    monkeypatch.setattr(residency, "available_memory", lambda: 40 * GIB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 * GIB, 80 * GIB))


@pytest.mark.parametrize(
    ("gib", "device", "ranks", "limit", "kind", "reason"),
    [
        (9, GPU, 1, None, "device", "9 GiB of 20 GiB free on cuda:0"),
        (10, GPU, 1, None, "memory", "10 GiB of 24 GiB"),
        (9, CPU, 1, None, "memory", "9 GiB of 24 GiB"),
        (24, CPU, 1, None, "memory", "24 GiB of 24 GiB"),
        (25, CPU, 1, None, "stream", "25 GiB of 24 GiB"),
        (25, CPU, 1, 30, "memory", "25 GiB of 30 GiB limit"),
        (9, CPU, 1, 4, "stream", "9 GiB of 4 GiB limit"),
        (9, GPU, 1, 4, "device", "9 GiB of 20 GiB free on cuda:0"),
        (12, CPU, 2, None, "memory", "12 GiB x 2 of 24 GiB"),
        (13, CPU, 2, None, "stream", "13 GiB x 2 of 24 GiB"),
    ],
)
def test_sizes_decide(gib, device, ranks, limit, kind, reason):
    limit_bytes = None if limit is None else limit * GIB
    found = decided_residence("auto", num_bytes=gib * GIB, device=device, ranks_here=ranks, limit_bytes=limit_bytes)
    assert (found.kind, found.reason) == (kind, reason)
    assert found.memory_bytes == ((limit or 0) * GIB or int(40 * GIB * 0.6)) // ranks


@pytest.mark.parametrize(
    ("wanted", "device", "kind"),
    [
        ("device", GPU, "device"),
        ("device", CPU, "memory"),
        ("memory", GPU, "memory"),
        ("stream", GPU, "stream"),
        ("stream", CPU, "stream"),
    ],
)
@pytest.mark.parametrize("gib", [1, 1000])
def test_what_is_asked_for_is_done(wanted, device, kind, gib):
    assert decided_residence(wanted, num_bytes=gib * GIB, device=device, ranks_here=1).kind == kind


@pytest.mark.parametrize(
    ("where", "names", "limit", "expected"),
    [
        ("", ("memory.max", "memory.current", "inactive_file"), "1000000", 1_000_000 - 400_000 + 30_000),
        ("memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), "900000", 530_000),
        ("", ("memory.max", "memory.current", "inactive_file"), "max", None),
    ],
)
def test_a_group_of_processes_has_a_limit(tmp_path, monkeypatch, where, names, limit, expected):
    """Its usage counts without the cache that is given back; the parent's limit holds as well."""
    limit_name, usage_name, cache_name = names
    parent = tmp_path / where / "job"
    (parent / "step").mkdir(parents=True)
    for folder, bound in ((parent, limit), (parent / "step", "800000000")):
        (folder / limit_name).write_text(f"{bound}\n")
        (folder / usage_name).write_text("400000\n")
        (folder / "memory.stat").write_text(f"cache 7\n{cache_name} 30000\n")
    monkeypatch.setattr(residency, "available_memory", available_memory)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2 * GIB))
    monkeypatch.setattr(residency, "_CGROUPS", ((str(tmp_path / where), *names),))
    monkeypatch.setattr(residency, "_OWN_CGROUPS", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text(f"7:cpu:/other\n4:{where}:/job/step\n")
    assert available_memory() == (800_000_000 - 370_000 if expected is None else expected)


def test_memory_is_available():
    assert 0 < available_memory() <= psutil.virtual_memory().total
