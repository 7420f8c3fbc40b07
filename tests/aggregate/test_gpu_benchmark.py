"""The benchmark for GPUs on a CPU, with small numbers, as on a machine that has nothing but PyTorch and Lightning."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_pretrain_gpu.py"
WITHOUT = ("zarr", "numcodecs", "dask", "distributed", "av", "sklearn", "click")
RUN = """
import runpy, sys
sys.modules.update(dict.fromkeys({without}))  # importing one of them fails
sys.argv = {argv}
sys.path.insert(0, {folder})  # as Python does for a script
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_it_runs_with_little_installed(tmp_path):
    options = ["--small", "--steps", "9", "--warmup", "2", "--peer-steps", "3", "--precision", "bf16"]
    argv = [str(SCRIPT), *options, "--json", str(tmp_path / "records.json")]
    code = RUN.format(without=WITHOUT, argv=argv, folder=repr(str(SCRIPT.parent)))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    records = {record["case"]: record for record in json.loads((tmp_path / "records.json").read_text())}
    assert records.keys() == {"masked_negatives", "all_negatives"}
    for record in records.values():
        assert record["ratio"] == pytest.approx(record["peer"] / record["ours"], rel=0.01)
        assert record["minutes_for_94000_steps"] == pytest.approx(94_000 * record["ours"] / 60, rel=0.01)
        assert record["share_of_bf16_peak"] > 0
        assert (record["precision"], record["compile"]) == ("bf16", "off")
    fewer, more = (records[case]["gigaflops_per_step"] for case in ("masked_negatives", "all_negatives"))
    assert 0 < fewer < more
    assert ended.stdout.count("minutes for 94000 steps") == 2
