"""Where a report looks: the store, the results and the run folders of an experiment, opened when first asked for.

Any of them may be absent. Who asks gets the error that says so, which ``section.fill`` turns into a line on the page.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scale_video.evaluate.representations import RAW_REPRESENTATIONS
from scale_video.evaluate.result import PROTOCOLS, EvaluationRecord, read_results
from scale_video.extract.clip_decoders import DecodeLimits
from scale_video.pipelines.cells import Located
from scale_video.pipelines.chosen_rows import CLASS_METRIC
from scale_video.pipelines.evaluation import record_digests
from scale_video.pipelines.paths import ExperimentRequest, choose_backbone, open_store, results_path, run_dir
from scale_video.pipelines.preset import Preset
from scale_video.pipelines.probe_target import ProbeTarget, read_target, usual_target
from scale_video.pipelines.published import published_figures
from scale_video.pipelines.report.sampled_vectors import SampledVectors, sample_vectors
from scale_video.pipelines.report.section import NotThereError
from scale_video.pipelines.tables import Table, make_table
from scale_video.store.errors import StoreError
from scale_video.store.union import ReadableStore

DEFAULT_VIDEOS: Final = 480
"""Test videos on the maps, each with a strip of frames."""
DEFAULT_QUERIES: Final = 8
FEATURE_DIGESTS: Final = ("plan_digest", "test_plan_digest", "weights_digest", "forward_digest")
"""What tells features of one backbone and data set apart."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What a user wants to see."""

    experiment: ExperimentRequest
    """Its ``num_seeds`` is not heeded: what is there of any seed is shown."""
    data_root: Path | None = None
    """Folder of the store's videos; the usual place of the data set when None."""
    output: Path | None = None
    """``report.html`` beside ``results.json`` when None."""
    num_videos: int = DEFAULT_VIDEOS
    num_queries: int = DEFAULT_QUERIES
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    def __post_init__(self) -> None:
        """Check numbers.

        Raises:
            ValueError: one is below its least.
        """
        if self.num_videos < 1 or self.num_queries < 1:
            raise ValueError(f"a report shows at least one video and query, got {self.num_videos}, {self.num_queries}")


class ReportSources:
    """What the parts of a report read."""

    def __init__(self, request: ReportRequest) -> None:
        """Open nothing yet.

        Raises:
            ValueError: a preset that cannot be read.
        """
        self.request = request
        self.experiment = request.experiment
        self.preset: Preset = request.experiment.load_preset()

    @cached_property
    def store(self) -> ReadableStore:
        """The features.

        Raises:
            NotThereError: there is no such store, or it cannot be read.
        """
        try:
            return open_store(self.experiment)
        except StoreError as error:
            raise NotThereError(str(error), self.command("extract")) from error

    @cached_property
    def backbone(self) -> str:
        """Name of the features.

        Raises:
            NotThereError: the store has none, or several and none is named.
        """
        if self.experiment.backbone is not None:
            return self.experiment.backbone
        try:
            return choose_backbone(self.store, view=self.preset.train_view, wanted=None)
        except (NotThereError, StoreError) as error:
            there = {record.backbone for record in self._all_records()}
            if len(there) == 1:  # the store may be on another machine
                return there.pop()
            raise NotThereError(str(error), self.command("extract")) from error

    @cached_property
    def target(self) -> ProbeTarget:
        """What the probes predict by default.

        Raises:
            NotThereError: the store is not there.
            ValueError: it has no such column.
        """
        videos = self.store.videos
        name = usual_target(videos, split=self.experiment.split)
        return read_target(videos, name, dataset=self.experiment.dataset)

    @cached_property
    def labels(self) -> NDArray[np.integer[Any]]:
        """The class of each video of the store, -1 where it has none; all -1 where videos are not of one class each.

        Raises:
            NotThereError: the store is not there.
        """
        num_videos = self.store.num_videos
        try:
            target = self.target
        except NotThereError:
            raise
        except ValueError:  # it has no labels at all
            return np.full(num_videos, -1)
        return target.values if target.kind == "class" else np.full(num_videos, -1)

    @cached_property
    def vectors(self) -> SampledVectors:
        """Of some videos; errors are those of ``sample_vectors``."""
        return sample_vectors(self)

    @property
    def results_folder(self) -> Path:
        """Of ``results.json``, and of the report."""
        return results_path(self.experiment).parent

    @cached_property
    def records(self) -> list[EvaluationRecord]:
        """Rows of results on these features and this target, of all experiments.

        Raises:
            NotThereError: there are none.
            ValueError: the file is damaged.
        """
        found = self._records_by_features.get(self._features, [])
        if not found:
            other = "What was evaluated are other features than these."
            none = "Nothing was evaluated yet."
            raise NotThereError(other if self._records_by_features else none, self.command("evaluate"))
        name = self._target_name(found)
        return [record for record in found if record.target == name]

    @property
    def own_rows(self) -> list[Located]:
        """Rows of this experiment; of the raw features, which know of none, also what only another one probed.

        Raises:
            NotThereError, ValueError: as ``records``.
        """
        name = self.experiment.experiment
        found = {
            replace(record, preset="").key: record  # of the same raw features the last one: its own, if it has them
            for record in sorted(self.records, key=lambda record: record.preset == name)
            if (record.preset == name or record.representation in RAW_REPRESENTATIONS) and not record.pretrained_on
        }
        return [Located(record, self.results_folder) for record in found.values()]

    @cached_property
    def own_table(self) -> Table:
        """The table of these rows, with published figures; its intervals take a second on large sets, hence one table.

        Raises:
            NotThereError, ValueError: as ``records``.
        """
        return make_table(self.own_rows, figures=published_figures())

    @property
    def class_rows(self) -> dict[str, list[EvaluationRecord]]:
        """Those of them that are about videos of one class each, by protocol in their usual order."""
        found: dict[str, list[EvaluationRecord]] = defaultdict(list)
        for one in sorted(self.own_rows, key=lambda one: PROTOCOLS.index(one.record.protocol)):
            if one.record.metric == CLASS_METRIC:
                found[one.record.protocol].append(one.record)
        return found

    @property
    def num_of_other_features(self) -> int:
        """Rows of this data set, split and backbone that are not of these features, such as those of an older store."""
        return sum(len(rows) for features, rows in self._records_by_features.items() if features != self._features)

    @cached_property
    def _records_by_features(self) -> dict[Hashable, list[EvaluationRecord]]:
        where = (self.experiment.dataset, self.experiment.split, self.backbone)
        found: dict[Hashable, list[EvaluationRecord]] = defaultdict(list)
        for record in self._all_records():
            if (record.dataset, record.split, record.backbone) == where:
                found[tuple(getattr(record, name) for name in FEATURE_DIGESTS)].append(record)
        return found

    @cached_property
    def _features(self) -> Hashable:
        """Digests of the store's features; where it is not here, those of most rows."""
        try:
            digests = record_digests(self.store, self.preset, backbone=self.backbone)
            return tuple(digests[name] for name in FEATURE_DIGESTS)
        except (NotThereError, StoreError):
            by_features = self._records_by_features
            return max(by_features, key=lambda features: len(by_features[features]), default=())

    def _target_name(self, records: Sequence[EvaluationRecord]) -> str:
        """The usual target; where the store is not here, that of most rows."""
        try:
            return self.target.name
        except NotThereError:
            return Counter(record.target for record in records).most_common(1)[0][0]

    def run_folders(self) -> dict[int, Path]:
        """The folders of this experiment's pre-training runs that are there, by seed, rising."""
        usual = run_dir(self.experiment, backbone=self.backbone, seed=0)
        found = {
            int(folder.name.removeprefix("seed")): folder
            for folder in usual.parent.glob("seed*")
            if folder.is_dir() and folder.name.removeprefix("seed").isdecimal()
        }
        return dict(sorted(found.items()))

    def command(self, name: str, *options: str, preset: str | None = None) -> str:
        """The command of this name for this experiment, or for another preset, as one would type it."""
        experiment = self.experiment if preset is None else replace(self.experiment, preset=preset)
        return " ".join(["scale-video", name, *self._options(name, experiment), *options])

    def _options(self, name: str, experiment: ExperimentRequest) -> list[str]:
        parts = ["--dataset", quote(experiment.dataset), "--store", quote(experiment.store)]
        if name in ("extract", "plan"):
            parts += ["--data", quote(str(self.request.data_root))] if self.request.data_root else []
            parts += ["--backbone", quote(experiment.backbone)] if experiment.backbone else []
            return [*parts, "--preset", quote(experiment.preset)]
        parts += ["--backbone", quote(experiment.backbone)] if experiment.backbone else []
        parts += ["--split", quote(experiment.split), "--preset", quote(experiment.preset)]
        parts += ["--label", quote(experiment.label)] if experiment.label else []
        parts += ["--runs", quote(str(experiment.runs))] if experiment.runs != Path("runs") else []
        parts += [part for text in experiment.overrides for part in ("--set", quote(text))]
        return parts

    def _all_records(self) -> list[EvaluationRecord]:
        path = results_path(self.experiment)
        return read_results(path) if path.exists() else []
