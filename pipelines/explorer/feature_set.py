"""Which features of a store a page is about."""

from dataclasses import dataclass

from scale_video.store.union import ReadableStore

PREFERRED_VIEW = "random"
PLAN = "plan"


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """A view and a backbone; either may be missing in a store that is only planned."""

    view: str | None
    backbone: str | None

    @property
    def name(self) -> str:
        """``view/backbone``; the view alone where nothing was extracted, ``plan`` where no view is."""
        return "/".join(part for part in (self.view, self.backbone) if part) or PLAN


def feature_sets(store: ReadableStore, *, view: str | None, backbone: str | None) -> tuple[FeatureSet, ...]:
    """All that a store has; those that are asked for first, and of others the view ``random``.

    Raises:
        ValueError: the store has none of what is asked for.
    """
    found = [
        FeatureSet(one_view, one)
        for one_view in store.views()
        for one in (store.backbones(one_view) or (None,))  # a view is worth looking at before anything is extracted
    ] or [FeatureSet(None, None)]
    wanted = [one for one in found if view in (None, one.view) and backbone in (None, one.backbone)]
    if not wanted:
        asked = "/".join(name for name in (view, backbone) if name)
        raise ValueError(f"store {store.url!r} has no {asked}; it has: {', '.join(one.name for one in found)}")
    wanted.sort(key=lambda one: one.view != PREFERRED_VIEW)  # a stable sort: else in the order of the store
    return (*wanted, *(one for one in found if one not in wanted))
