"""How the result of a search is printed."""

from collections import Counter

from scale_video.pipelines.console import note, print_table
from scale_video.pipelines.search import SearchResult


def search_table(result: SearchResult) -> None:
    """Print a row per video that was found: score, path, the seconds that match, and those of the query."""
    paths = Counter(hit.path for hit in result.hits)
    rows = [
        (
            str(hit.rank),
            hit.path if paths[hit.path] == 1 else hit.id,  # parts of one file, or videos of two data sets
            f"{hit.matched.start_seconds:.2f} – {hit.matched.end_seconds:.2f}",
            f"{hit.matched.query_start_seconds:.2f} – {hit.matched.query_end_seconds:.2f}",
            f"{hit.matched.score:.3f}",
            f"{hit.score:.3f}",
        )
        for hit in result.hits
    ]
    title = f"{result.query}: nearest of {result.num_searched} videos by {result.by} of {result.view}/{result.backbone}"
    print_table(title, ("", "video", "seconds", "of the query", "clips", "score"), rows, numbers=4)
    if strips := [hit.strip for hit in result.hits if hit.strip is not None]:
        note(f"{len(strips)} strips in {strips[0].parent}")
