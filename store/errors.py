"""The errors a reader or writer of a store can meet, each of which names the way out."""


class StoreError(Exception):
    """Anything wrong with a store; its message is one line that a user can act on."""


class StoreNotFoundError(StoreError):
    """There is no finished store at this place: nothing at all, or a creation that was interrupted."""


class FormatVersionError(StoreError):
    """The store was written in a format version that this release cannot read."""


class MissingArrayError(StoreError):
    """A view, a backbone or one of its arrays is absent, or has another shape or dtype than the format demands."""


class PlanMismatchError(StoreError):
    """The store holds another plan (videos, seed, view parameters, backbone weights) than the one asked for."""


class DamagedBlockError(StoreError):
    """A committed block's bytes are not those that were committed; the message names the block and the array."""

    @classmethod
    def at(cls, group: str, index: int, fault: str) -> "DamagedBlockError":
        """The error for a fault in one block of ``group``, which is ``<view>/<backbone>``."""
        return cls(
            f"block {index} of {group}: {fault}; "
            f"delete '{group}/commit/c.{index}' in the store and run `scale-video extract` again to have it redone"
        )


class IncompleteStoreError(StoreError):
    """Blocks are still uncommitted; the message says how many, and which command completes them."""


class StoreLockedError(StoreError):
    """Another job works on the store; the message says whose, and what to do."""


class StoreLostError(StoreError):
    """The lock that a job holds on a store was taken away, or the store is not where it was; nothing may be written."""
