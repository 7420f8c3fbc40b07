"""What the pages are made of: a store that is open, what is known of it, and what is being computed."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scale_video.pipelines.console import note
from scale_video.pipelines.explorer.background import Background, Report, Task
from scale_video.pipelines.explorer.catalogue import Catalogue
from scale_video.pipelines.explorer.clip_times import even_times, shown_times
from scale_video.pipelines.explorer.data_files import DataFiles
from scale_video.pipelines.explorer.feature_set import FeatureSet, feature_sets
from scale_video.pipelines.explorer.neighbour_section import neighbour_section
from scale_video.pipelines.explorer.outcomes import Outcomes
from scale_video.pipelines.explorer.table_page import TablePage, table_page
from scale_video.pipelines.explorer.url_state import TableState, VideoState
from scale_video.pipelines.explorer.video_page import NeighbourSection, VideoClips, VideoPage, part_of, video_page
from scale_video.pipelines.explorer.way_back import way_back
from scale_video.store.union import open_stores

if TYPE_CHECKING:  # they bring PyTorch along, for which no page waits
    from scale_video.pipelines.explorer.neighbours import Neighbourhoods
    from scale_video.pipelines.explorer.pictures import Pictures

_FRAME_SIZE: Final = 256
"""Pixels of the frames on the page of a video."""
_THUMBNAIL_SIZE: Final = 96
_THUMBNAIL_FRAMES: Final = 4


@dataclass(frozen=True, slots=True)
class ExploreRequest:
    """What is to be looked at."""

    store: str
    """Path or URL; several, separated by commas, are read as one."""
    checkpoint: Path | None = None
    """A file, or the folder of a run."""
    embeddings: Path | None = None
    """What ``embed`` wrote of this store by this checkpoint."""
    data_root: Path | None = None
    view: str | None = None
    backbone: str | None = None
    follow_links: bool = False
    """Whether files may be shown that links within the data root lead to."""
    num_decoders: int = 2
    timeout_seconds: float = 60.0
    """For the pictures of one video."""
    memory_bytes: int = 4 << 30
    """What a decoding process may allocate."""
    device: str = "auto"


class Explorer:
    """A store, and what answers questions about it; for several threads."""

    def __init__(self, request: ExploreRequest) -> None:
        """Open the store and read the table of videos.

        Raises:
            StoreError: it cannot be opened or read.
            ValueError: it has no such view or backbone; or there is nothing where a path leads.
        """
        for option, path in (("--checkpoint", request.checkpoint), ("--embeddings", request.embeddings)):
            if path is not None and not path.exists():
                raise ValueError(f"there is nothing at {option} {str(path)!r}")
        self._request = request
        self.store = open_stores(request.store)
        self.feature_sets = feature_sets(self.store, view=request.view, backbone=request.backbone)
        """The first is shown where none is named."""
        self.catalogue = Catalogue(self.store)
        self.files = DataFiles(
            self.store, self.catalogue.paths, data_root=request.data_root, follow_links=request.follow_links
        )
        self.background = Background()
        self.outcomes = Outcomes(self.store, self.background)
        self._loading: Task | None = None
        self._neighbourhoods: Neighbourhoods | None = None
        self._pictures: Pictures | None = None
        self._lock = threading.Lock()

    @property
    def num_decoders(self) -> int:
        """Videos that are decoded at a time."""
        return self._request.num_decoders

    @property
    def store_name(self) -> str:
        """What the store's folder is called, or the folders of several."""
        return ", ".join(url.rstrip("/").rpartition("/")[2] for url in self.store.url.split(","))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """All feature sets that the store has."""
        return tuple(one.name for one in self.feature_sets)

    def features(self, name: str) -> FeatureSet:
        """A feature set by its name; the first for an empty one.

        Raises:
            ValueError: there is none.
        """
        found = [one for one in self.feature_sets if name in ("", one.name)]
        if not found:
            raise ValueError(f"the store has no features {name[:80]!r}; it has: {', '.join(self.feature_names)}")
        return found[0]

    def table(self, state: TableState) -> TablePage:
        """The first page.

        Raises:
            ValueError: the state asks for what there is not.
        """
        features = self.features(state.features)
        outcome, task = self.outcomes.get(features)
        return table_page(self.catalogue, state, features, outcome, task)

    def video(self, row: int, state: VideoState) -> VideoPage:
        """The page of a video that there is.

        Raises:
            StoreError: the store cannot be read.
            ValueError: the state asks for what there is not.
        """
        features = self.features(state.features)
        return video_page(
            self.store,
            self.catalogue,
            row,
            state,
            features,
            why_no_file=self.files.why_not(row),
            way_back=way_back(self.catalogue, row, state, lambda: self.outcomes.get(features)[0]),
            neighbours=self._neighbours(row, state, features),
        )

    def begin(self) -> Task:
        """Load what finds neighbours, and compute what most will ask for; done again, it does nothing."""
        with self._lock:
            if self._loading is None:
                self._loading = self.background.begin("loading what compares videos", 1, self._load)
            return self._loading

    def frames(self, row: int, state: VideoState) -> bytes:
        """The frames that show where a video's clips lie, as png.

        Raises:
            NoPictureError: they cannot be had.
        """
        clips = VideoClips.read(self.store, row, self.features(state.features))
        begin, duration = part_of(self.store, self.catalogue, row)
        clip = state.clip if 0 <= state.clip < len(clips.planned) else None
        times = shown_times(clips.coordinates, clips.planned, begin=begin, duration=duration, clip=clip)
        return self._loaded_pictures().frames(row, times, size=_FRAME_SIZE)

    def thumbnail(self, row: int) -> bytes:
        """Some small frames of a video, as png.

        Raises:
            NoPictureError: they cannot be had.
        """
        begin, duration = part_of(self.store, self.catalogue, row)
        times = even_times(begin=begin, duration=duration, num_frames=_THUMBNAIL_FRAMES)
        return self._loaded_pictures().frames(row, times, size=_THUMBNAIL_SIZE)

    def strip(self, row: int, clip: int, state: VideoState) -> bytes:
        """The frames of a clip as the backbone sees them, as png.

        Raises:
            NoPictureError: they cannot be had.
        """
        return self._loaded_pictures().strip(row, self.features(state.features), clip)

    def film(self, row: int, clip: int, state: VideoState) -> bytes:
        """The same, to be played, as mp4.

        Raises:
            NoPictureError: it cannot be had.
        """
        return self._loaded_pictures().film(row, self.features(state.features), clip)

    def close(self) -> None:
        """End what is under way, and the decoding processes, whatever they are at; done again, it does nothing."""
        self.background.close()
        with self._lock:
            pictures, self._pictures = self._pictures, None
        if pictures is not None:
            pictures.close()

    def _neighbours(self, row: int, state: VideoState, features: FeatureSet) -> NeighbourSection:
        task = self.begin()
        if self._neighbourhoods is None:
            return NeighbourSection(problem=task.error) if task.error else NeighbourSection(waiting=(task,))
        return neighbour_section(
            self._neighbourhoods, self.catalogue, row, state, features, why_no_picture=self.files.why_not
        )

    def _load(self, report: Report) -> None:
        from scale_video.pipelines.explorer.neighbours import Neighbourhoods
        from scale_video.pipelines.export import find_checkpoint

        wanted, features = self._request, self.feature_sets[0]
        found = Neighbourhoods(
            self.store,
            self.background,
            checkpoint=None if wanted.checkpoint is None else find_checkpoint(wanted.checkpoint),
            embeddings=wanted.embeddings,
            device=wanted.device,
        )
        self._neighbourhoods = found
        if features.backbone is not None:
            index = found.index(features)
            if wanted.checkpoint is not None and index.why_not_learned:
                note(index.why_not_learned)
            found.prepare(index, index.choices[0])

    def _loaded_pictures(self) -> "Pictures":
        with self._lock:
            if self._pictures is None:
                from scale_video.extract.clip_decoders import DecodeLimits
                from scale_video.pipelines.explorer.pictures import Pictures

                wanted = self._request
                limits = DecodeLimits(wanted.num_decoders, wanted.timeout_seconds, wanted.memory_bytes)
                self._pictures = Pictures(self.store, self.files, limits)
            return self._pictures
