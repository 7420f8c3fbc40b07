"""Where a video stands in the table that led to it: the way back, and the videos before and after."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from scale_video.pipelines.explorer.catalogue import Catalogue
from scale_video.pipelines.explorer.outcomes import Outcome
from scale_video.pipelines.explorer.table_page import ROWS_PER_PAGE, with_status
from scale_video.pipelines.explorer.url_state import TableState, VideoState


@dataclass(frozen=True, slots=True)
class WayBack:
    """Addresses that lead away from a video; empty where there is none."""

    table: str
    previous: str = ""
    next: str = ""


def way_back(catalogue: Catalogue, row: int, state: VideoState, outcome: Callable[[], Outcome]) -> WayBack:
    """Follow the table that led to a video; that of all videos where it asks for what there is not.

    Args:
        catalogue: Of the store.
        row: Of the video.
        state: What of it is shown.
        outcome: Gives the statuses of all videos; the table of all videos does without, so that nothing waits for it.
    """
    table, rows = state.came_from(), np.arange(catalogue.num_videos)
    if table.carried():
        try:
            found = outcome()
            rows = with_status(catalogue.select(table, found.status), table, found)
        except ValueError:
            table = TableState(features=state.features, label=state.label)

    def beside(place: int) -> str:
        """The page of another video, from which the way back is to its own page of the table."""
        if not 0 <= place < len(rows):
            return ""
        there = replace(table, page=place // ROWS_PER_PAGE + 1).carried()
        return f"/video/{rows[place]}{state.query(clip=-1, of='video', everywhere=0, table=there)}"

    back = f"/{table.query()}"
    places = np.flatnonzero(rows == row).tolist()
    if not places:  # a neighbour that the table leaves out
        return WayBack(back)
    return WayBack(back, previous=beside(places[0] - 1), next=beside(places[0] + 1))
