"""The programs of FORMAT.md, as they stand, where this package is not installed."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scale_video.store import schema
from scale_video.store.read import FeatureStore

FORMAT = Path(schema.__file__).with_name("FORMAT.md")
SNIPPETS = re.findall(r"```python\n(.*?)```", FORMAT.read_text(), re.DOTALL)
CASES = ("consolidated", "not consolidated", "one block missing")
RESULTS = ("dask_x", "xarray_x", "numpy_x", "train", "start", "valid", "features", "paths", "sizes")

PROGRAM = f"""
import importlib.util, os
assert importlib.util.find_spec("scale_video") is None
import numpy
snippets = {chr(10).join(SNIPPETS)!r}
more = '''
tree = xarray.open_datatree("features/demo.zarr", engine="zarr", chunks={{}}, consolidated=consolidated)
paths = sorted(node.path for node in tree.subtree)
sizes = list(backbone.sizes.values())
'''
for case in {CASES!r}:
    os.chdir(case)
    consolidated = case != "not consolidated"
    found = {{"consolidated": consolidated}}
    # Left to itself xarray warns where nothing is consolidated.
    exec((snippets + more).replace("open_zarr(", "open_zarr(consolidated=consolidated, store="), found)
    numpy.savez("../" + case + ".npz", **{{name: numpy.asarray(found[name]) for name in {RESULTS!r}}})
    os.chdir("..")
"""


@pytest.fixture(scope="module")
def folder(templates: Path, foreign_python: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each case's store, and beside it what the programs made of it."""
    folder = tmp_path_factory.mktemp("snippets")
    for case in CASES:
        shutil.copytree(templates / "full.zarr", folder / case / "features/demo.zarr")
    root = folder / "not consolidated/features/demo.zarr/zarr.json"
    metadata = json.loads(root.read_text())
    del metadata["consolidated_metadata"]
    root.write_text(json.dumps(metadata))
    (folder / "one block missing/features/demo.zarr/random/motion3d/commit/c.1").unlink()
    foreign_python(PROGRAM, cwd=folder)
    return folder


def test_there_is_a_program_for_dask_xarray_and_numpy() -> None:
    assert [snippet.split()[1] for snippet in SNIPPETS] == ["dask.array", "xarray", "json"]


@pytest.mark.parametrize("case", CASES)
def test_the_programs_read_what_our_reader_reads(folder: Path, case: str) -> None:
    found = np.load(folder / f"{case}.npz")
    store = FeatureStore.open(folder / case / "features/demo.zarr")
    ours = store.read_features("random", "motion3d", allow_incomplete=True)
    count = ours.valid.sum(axis=1)
    assert (count == 0).tolist() == [False] * 3 + [case == "one block missing"] * 3 + [True]
    mean = ours.features.astype(np.float32).sum(axis=1) / np.maximum(count, 1)[:, None]
    np.testing.assert_allclose(found["dask_x"], mean, rtol=1e-6)
    np.testing.assert_allclose(found["xarray_x"][count > 0], mean[count > 0], rtol=1e-6)
    assert np.isnan(found["xarray_x"][count == 0]).all()
    np.testing.assert_array_equal(found["train"], found["xarray_x"][store.videos.in_split("1", "train")])
    np.testing.assert_array_equal(np.nan_to_num(found["start"]), ours.coordinates[:, :, 5])
    np.testing.assert_array_equal(found["valid"], ours.valid[:3])
    np.testing.assert_array_equal(found["features"][found["valid"]], ours.features[:3][ours.valid[:3]])
    np.testing.assert_allclose(found["numpy_x"], mean[:3], rtol=1e-6)
    assert found["paths"].tolist() == ["/", "/grid", "/random", "/random/motion3d", "/videos"]
    assert sorted(found["sizes"].tolist()) == [3, 3, 4, 7]
