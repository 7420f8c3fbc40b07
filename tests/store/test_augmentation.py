"""A view that changes colours: its array lies in the store, in the digest, and in nobody else's way."""

import hashlib
import struct
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray
import zarr

from scale_video.store.augmentation import AUGMENTATION_NAMES, Augmentation
from scale_video.store.canonical_json import canonical_json
from scale_video.store.clip_plan import ClipPlan
from scale_video.store.create import add_backbone, add_view
from scale_video.store.errors import PlanMismatchError
from scale_video.store.read import FeatureStore
from scale_video.store.verify import verify_store


def augmented_plan(small: ModuleType, *, seed: int = 5) -> ClipPlan:
    plan: ClipPlan = small.make_plan("augmented", seed=seed)
    augmentation = np.random.default_rng(seed).random((*plan.valid.shape, 10), dtype=np.float32)
    augmentation[~plan.valid] = np.nan
    return replace(plan, augmentation=augmentation)


def test_names_are_those_of_the_format() -> None:
    assert AUGMENTATION_NAMES == (
        "brightness", "contrast", "saturation", "hue",
        "brightness_step", "contrast_step", "saturation_step", "hue_step", "grey", "blur",
    )  # fmt: skip
    assert len(Augmentation) == 10


def test_it_is_read_as_it_was_written(small: ModuleType, empty_store: Path) -> None:
    plan = augmented_plan(small)
    add_view(empty_store, plan)
    add_view(empty_store, plan)  # again: no error
    read = FeatureStore.open(empty_store).plan("augmented")
    assert read.augmentation is not None
    np.testing.assert_array_equal(read.augmentation, plan.augmentation)
    np.testing.assert_array_equal(read.coordinates, plan.coordinates)
    assert FeatureStore.open(empty_store).plan("random").augmentation is None
    dataset = xarray.open_zarr(empty_store, group="augmented")
    brightness = dataset.augmentation.sel(parameter="brightness").values
    np.testing.assert_array_equal(brightness, plan.augmentation[:, :, 0])


def test_the_digest_is_that_of_the_format(small: ModuleType, empty_store: Path) -> None:
    """Recomputed from FORMAT.md, and not that of the same plan without augmentation."""
    plan = augmented_plan(small)
    add_view(empty_store, plan)

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value.encode())) + value.encode()

    videos = FeatureStore.open(empty_store).attributes["videos_digest"]
    content = text(videos) + text("augmented") + text(canonical_json(plan.parameters, what="parameters"))
    content += plan.coordinates.astype("<f4").tobytes() + plan.valid.tobytes() + plan.planned.tobytes()
    without = hashlib.blake2b(content, digest_size=16).hexdigest()
    content += text("augmentation") + b"".join(map(text, AUGMENTATION_NAMES))
    assert plan.augmentation is not None
    content += plan.augmentation.astype("<f4").tobytes()
    expected = hashlib.blake2b(content, digest_size=16).hexdigest()
    assert FeatureStore.open(empty_store).plan_digest("augmented") == expected != without


def test_another_augmentation_is_another_plan(small: ModuleType, empty_store: Path) -> None:
    plan = augmented_plan(small)
    add_view(empty_store, plan)
    for other in (replace(plan, augmentation=None), replace(plan, augmentation=plan.augmentation * np.float32(2))):
        with pytest.raises(PlanMismatchError, match="already has a view 'augmented' with other parameters"):
            add_view(empty_store, other)


@pytest.mark.parametrize("name", ["augmentation", "parameter"])
def test_damage_is_found(small: ModuleType, full_store: Path, name: str) -> None:
    add_view(full_store, augmented_plan(small))
    assert verify_store(full_store).damaged == ()
    array = zarr.open_group(full_store, mode="r+", use_consolidated=False)["augmented"][name]
    array[0] = "colour" if name == "parameter" else 0.5
    [line] = verify_store(full_store).damaged
    assert ("not the one that was drawn" if name == "augmentation" else "'augmented/parameter'") in line


def test_an_array_that_is_gone_is_damage(small: ModuleType, full_store: Path) -> None:
    add_view(full_store, augmented_plan(small))
    for path in sorted((full_store / "augmented/augmentation").iterdir()):
        path.unlink()
    [line] = verify_store(full_store).damaged
    assert "the plan of view 'augmented' is not the one that was drawn" in line


def test_no_backbone_can_take_its_names(small: ModuleType, empty_store: Path) -> None:
    for name in ("augmentation", "parameter"):
        with pytest.raises(ValueError, match=f"backbone cannot be called '{name}'"):
            add_backbone(empty_store, view="random", name=name, feature_dim=2, weights_digest="0", attributes={})


def changed(values: np.ndarray[Any, Any], index: tuple[int, ...], value: float) -> np.ndarray[Any, Any]:
    values = values.copy()
    values[index] = value
    return values


def test_what_is_no_augmentation_is_refused(small: ModuleType) -> None:
    plan = augmented_plan(small)
    assert plan.augmentation is not None
    with pytest.raises(ValueError, match=r"must be float32 \(7, 3, 10\), got float32 \(7, 3, 9\)"):
        replace(plan, augmentation=plan.augmentation[:, :, 1:])
    with pytest.raises(ValueError, match=r"must be float32 \(7, 3, 10\), got float64"):
        replace(plan, augmentation=plan.augmentation.astype(np.float64))
    for index, value in (((0, 0, 0), np.nan), ((1, 2, 0), 1.0)):  # the third clip of row 1 is not planned
        with pytest.raises(ValueError, match="must be finite for planned clips, and NaN for the others"):
            replace(plan, augmentation=changed(plan.augmentation, index, value))
