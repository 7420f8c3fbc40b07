"""Several stores read as one, for a store does not grow: rows of the first, then of the second."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scale_video.store.clip_features import ClipFeatures
from scale_video.store.clip_plan import Coordinate
from scale_video.store.errors import PlanMismatchError, StoreNotFoundError
from scale_video.store.location import StoreLocation
from scale_video.store.merge_tables import MergedTable, merge_tables
from scale_video.store.read import FeatureStore, VideoOutcome
from scale_video.store.video_probe import VideoProbe
from scale_video.store.video_table import VideoTable

EQUAL_ATTRIBUTES: Final = (
    "feature_dim",
    "weights_digest",
    "preprocessing",
    "layer",
    "num_frames",
    "frame_size",
    "precision",
)
"""What features that are used together must agree in; of what else a backbone's attributes say, a warning is enough."""

_LOG: Final = logging.getLogger(__name__)


def open_stores(urls: str | Path, *, several_datasets: bool = False) -> "FeatureStore | StoreUnion":
    """Open a store, or several that are separated by commas: ``a.zarr,b.zarr``.

    A comma always separates; the path of a store cannot hold one. Stores of several data sets are a ``DatasetUnion``,
    where these are allowed.

    Raises:
        StoreError: one of them cannot be opened.
        PlanMismatchError: they do not go together.
        ValueError: nothing stands before or after a comma, or a store is named twice.
    """
    parts = store_urls(urls)
    if len(parts) == 1:
        return FeatureStore.open(parts[0])
    try:
        stores = [FeatureStore.open(part) for part in parts]
        differ = len({store.attributes.get("dataset") for store in stores}) > 1
        return DatasetUnion(stores) if several_datasets and differ else StoreUnion(stores)
    except StoreNotFoundError as error:
        if Path(str(urls)).expanduser().exists():
            raise StoreNotFoundError(
                f"a comma separates stores, so {str(urls)!r} cannot be the path of one; rename it, or make a link to it"
            ) from error
        raise


def store_urls(urls: str | Path) -> tuple[str, ...]:
    """The stores that a text names: ``a.zarr,b.zarr`` names two.

    Raises:
        ValueError: nothing stands before or after a comma, or a store is named twice.
    """
    parts = tuple(part.strip() for part in str(urls).split(","))
    if not all(parts):
        raise ValueError(f"{str(urls)!r} must name stores, separated by single commas")
    places = [StoreLocation.of(part).url for part in parts]
    for part, place in zip(parts, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"store {part!r} is named twice in {str(urls)!r}")
    return parts


class StoreUnion:
    """Stores of one data set whose plans and backbones agree, opened for reading; it reads like a ``FeatureStore``.

    What must agree is compared where it is used: stores with an equal view and another that differs can be used for
    the equal one. Views and backbones that a store lacks are not in the union.
    """

    def __init__(self, stores: Sequence[FeatureStore]) -> None:
        """Compare what is true of all videos.

        Raises:
            PlanMismatchError: data sets, label columns or splits differ, or two stores have a video in common.
        """
        self.stores: tuple[FeatureStore, ...] = tuple(stores)
        """In the order of the rows."""
        self.num_videos = sum(store.num_videos for store in stores)
        """Rows, N."""
        self.attributes: Mapping[str, Any] = {
            **_common([store.attributes for store in stores]),
            "num_videos": self.num_videos,
        }
        """The roots' attributes, as far as they are equal, and the number of all videos."""
        self._starts = np.cumsum([0, *(store.num_videos for store in stores)])
        self._warned: set[tuple[str, str]] = set()
        self._table: MergedTable = self._merged()

    def _merged(self) -> MergedTable:
        """The tables of all stores as one."""
        for one, other in pairwise(self.stores):
            datasets = one.attributes.get("dataset"), other.attributes.get("dataset")
            if datasets[0] != datasets[1]:
                raise _mismatch(one, other, f"hold the data sets {datasets[0]!r} and {datasets[1]!r}")
        return merge_tables({store.url: store.videos for store in self.stores})

    @property
    def url(self) -> str:
        """The stores' addresses, separated by commas."""
        return ",".join(store.url for store in self.stores)

    @property
    def num_blocks(self) -> int:
        """Blocks of every backbone, of all stores together."""
        return sum(store.num_blocks for store in self.stores)

    @property
    def videos(self) -> VideoTable:
        """The table of all videos; classes are merged by name, in the order in which they first occur."""
        return self._table.videos

    @property
    def ids(self) -> tuple[str, ...]:
        """The videos' ids."""
        return self.videos.ids

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns that the tables of all stores have, sorted."""
        return _in_all([store.column_names for store in self.stores])

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """For each column of labels, and each of label sets, the name of each class index of the union."""
        return self.videos.class_names

    def views(self) -> tuple[str, ...]:
        """Names of the views that all stores have, sorted."""
        return _in_all([store.views() for store in self.stores])

    def backbones(self, view: str) -> tuple[str, ...]:
        """Names of the backbones that a view has in all stores, sorted."""
        return _in_all([store.backbones(view) for store in self.stores])

    def plan_parameters(self, view: str) -> Mapping[str, Any]:
        """What a view's clips were drawn by.

        Raises:
            MissingArrayError: a store lacks the view.
            PlanMismatchError: the stores drew them differently.
        """
        parameters = [store.plan_parameters(view) for store in self.stores]
        for one, other, mine, theirs in self._pairs(parameters):
            if differing := _differing(mine, theirs):
                raise _mismatch(one, other, f"drew view {view!r} with other values of {_values(differing)}")
        return parameters[0]

    def plan_digest(self, view: str) -> str:
        """Digest of the stores' digests of a view's plan, hexadecimal."""
        self.plan_parameters(view)
        digests = "".join(store.plan_digest(view) for store in self.stores)
        return hashlib.blake2b(bytes.fromhex(digests), digest_size=16).hexdigest()

    def num_clips(self, view: str) -> int:
        """Clips of the widest video of a view."""
        return max(store.num_clips(view) for store in self.stores)

    def feature_dim(self, view: str, backbone: str) -> int:
        """Length of a feature, D."""
        self.backbone_attributes(view, backbone)
        return self.stores[0].feature_dim(view, backbone)

    def backbone_attributes(self, view: str, backbone: str) -> Mapping[str, Any]:
        """What is recorded of a backbone, as far as the stores agree; they must in ``EQUAL_ATTRIBUTES``.

        Raises:
            MissingArrayError: a store lacks the view or the backbone.
            PlanMismatchError: the features of the stores do not go together.
        """
        attributes = [store.backbone_attributes(view, backbone) for store in self.stores]
        for one, other, mine, theirs in self._pairs(attributes):
            differing = _differing(mine, theirs)
            if serious := {key: values for key, values in differing.items() if key in EQUAL_ATTRIBUTES}:
                raise _mismatch(one, other, f"have features {view}/{backbone} that differ in {_values(serious)}")
            if differing and (view, backbone) not in self._warned:
                message = "stores %r and %r have features %s/%s that were made with other values of %s"
                _LOG.warning(message, one.url, other.url, view, backbone, _values(differing))
        self._warned.add((view, backbone))
        return _common(attributes)

    def committed(self, view: str, backbone: str) -> NDArray[np.bool_]:
        """Which blocks exist; those of the first store, then those of the second."""
        return np.concatenate([store.committed(view, backbone) for store in self.stores])

    def outcome(self, view: str, backbone: str) -> VideoOutcome:
        """Status and error of every video."""
        outcomes = [store.outcome(view, backbone) for store in self.stores]
        return VideoOutcome(
            status=np.concatenate([outcome.status for outcome in outcomes]),
            error=tuple(error for outcome in outcomes for error in outcome.error),
        )

    def outcomes(self, view: str, backbone: str) -> Iterator[tuple[slice, NDArray[np.uint8], tuple[str, ...]]]:
        """What became of the videos, in runs of rows; see ``FeatureStore.outcomes``."""
        for store, start in zip(self.stores, self._starts.tolist(), strict=False):
            for rows, status, error in store.outcomes(view, backbone):
                yield slice(start + rows.start, start + rows.stop), status, error

    def column(self, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        """Some rows of a column of the table of videos; text as Python strings, labels as classes of the union.

        Raises:
            MissingArrayError: a store has no such column.
        """
        first, last, step = rows.indices(self.num_videos)
        if step != 1:
            raise ValueError(f"rows must be consecutive, got {rows}")
        return np.concatenate(
            [
                self._table.relabel(name, store.url, store.column(name, slice(low, high)))
                for store, low, high in self._intervals(first, last)
            ]
        )

    def probes(self, rows: slice = slice(None)) -> tuple[VideoProbe, ...]:
        """What the probe found, for some consecutive rows."""
        first, last, _ = rows.indices(self.num_videos)
        parts = [store.probes(slice(low, high)) for store, low, high in self._intervals(first, last)]
        return tuple(probe for part in parts for probe in part)

    def read_features(
        self, view: str, backbone: str, rows: NDArray[np.int64] | None = None, *, allow_incomplete: bool = False
    ) -> ClipFeatures:
        """Features with their coordinates, for all or some videos, in memory; see ``FeatureStore.read_features``.

        Where stores plan other numbers of clips, K is the largest, and the clips that a video lacks are not valid.

        Raises:
            PlanMismatchError: the features of the stores do not go together.
            IncompleteStoreError: one of the rows lies in a block that is not committed.
            ValueError: a row is outside the table.
        """
        self.plan_parameters(view)
        rows = np.arange(self.num_videos) if rows is None else np.asarray(rows)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.num_videos:
            raise ValueError(f"rows must be in [0, {self.num_videos}), got [{rows.min()}, {rows.max()}]")
        shape = len(rows), self.num_clips(view)
        features = np.zeros((*shape, self.feature_dim(view, backbone)), dtype=np.float16)
        coordinates = np.zeros((*shape, len(Coordinate)), dtype=np.float32)
        valid = np.zeros(shape, dtype=np.bool_)
        for store, (start, stop) in zip(self.stores, pairwise(self._starts.tolist()), strict=True):
            places = np.flatnonzero((rows >= start) & (rows < stop))
            part = store.read_features(view, backbone, rows[places] - start, allow_incomplete=allow_incomplete)
            clips = part.valid.shape[1]
            features[places, :clips] = part.features
            coordinates[places, :clips] = part.coordinates
            valid[places, :clips] = part.valid
        ids = self.ids
        return ClipFeatures(tuple(ids[row] for row in rows), features=features, coordinates=coordinates, valid=valid)

    def _intervals(self, first: int, last: int) -> Iterator[tuple[FeatureStore, int, int]]:
        """For each store the part of an interval of rows that it holds, in its own numbers; maybe empty."""
        for store, start in zip(self.stores, self._starts.tolist(), strict=False):
            yield store, min(max(first - start, 0), store.num_videos), min(max(last - start, 0), store.num_videos)

    def _pairs(self, values: Sequence[Any]) -> Iterator[tuple[FeatureStore, FeatureStore, Any, Any]]:
        """The first store with every other, and what each of them has."""
        for store, value in zip(self.stores[1:], values[1:], strict=True):
            yield self.stores[0], store, values[0], value


class DatasetUnion(StoreUnion):
    """Stores of several data sets, to be trained on without labels.

    Ids carry the name of their data set, for two of them may use one path for different videos. Labels and splits are
    those of each store: what they mean differs between data sets.
    """

    def __init__(self, stores: Sequence[FeatureStore]) -> None:
        """Compare what is true of all videos.

        Raises:
            PlanMismatchError: two stores of one data set have a video in common.
        """
        super().__init__(stores)
        self.attributes = {**self.attributes, "dataset": ",".join(self.datasets)}

    def _merged(self) -> MergedTable:
        return merge_tables(
            {
                store.url: VideoTable(
                    ids=tuple(id_in_union(video_id, dataset=dataset_of(store)) for video_id in store.ids),
                    paths=store.videos.paths,
                    groups=store.videos.groups,
                    labels={},
                    class_names={},
                    splits={},
                )
                for store in self.stores
            }
        )

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets, in the order of the rows."""
        return tuple(dict.fromkeys(dataset_of(store) for store in self.stores))


def id_in_union(video_id: str, *, dataset: str) -> str:
    """What a video is called among those of several data sets: ``ucf101:YoYo/v_YoYo_g01_c01.avi``."""
    return f"{dataset}:{video_id}"


def dataset_of(store: FeatureStore) -> str:
    """Name of a store's data set."""
    return str(store.attributes["dataset"])


ReadableStore: TypeAlias = FeatureStore | StoreUnion
"""What ``open_stores`` opens."""


def member_row(store: ReadableStore, row: int) -> tuple[FeatureStore, int]:
    """The store that holds a row of a union, and its row there; of a single store, what was given.

    Raises:
        ValueError: there is no such row.
    """
    if not 0 <= row < store.num_videos:
        raise ValueError(f"rows are 0 to {store.num_videos - 1}, got {row}")
    if isinstance(store, FeatureStore):
        return store, row
    for one in store.stores:
        if row < one.num_videos:
            return one, row
        row -= one.num_videos
    raise AssertionError("a union has as many rows as its stores together")


def _mismatch(one: FeatureStore, other: FeatureStore, what: str) -> PlanMismatchError:
    return PlanMismatchError(f"stores {one.url!r} and {other.url!r} do not go together: they {what}")


def _in_all(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for name in names[0] if all(name in others for others in names))


def _common(attributes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        key: value
        for key, value in attributes[0].items()
        if all(key in others and others[key] == value for others in attributes)
    }


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values are not equal, with both values; None stands for a key that is not there."""
    keys = sorted(one.keys() | other.keys())
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def _values(differing: Mapping[str, tuple[Any, Any]]) -> str:
    """Names with the values on both sides, in one line of bearable length."""
    return "; ".join(f"{key} ({str(mine)[:80]} and {str(theirs)[:80]})" for key, (mine, theirs) in differing.items())
