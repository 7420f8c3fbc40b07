"""Whether a store can be read, and whether a place can be written to as a job does: with a lock, whole and flushed."""

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scale_video.pipelines.finding import Finding, or_broken
from scale_video.store.amounts import size_text, time_text

if TYPE_CHECKING:
    from scale_video.store.read import FeatureStore

_READ: Final = (
    "the address, your permissions and, of a URL, its credentials decide; `scale-video verify` reads all of it"
)
_WRITE: Final = "the job needs to create, rename and delete files there; ask who owns the place, or choose another"


def look_at_store(url: str, *, write: bool) -> list[Finding]:
    """Read a store's tables and a block of each of its features; write a tiny store beside it if that is asked for."""
    findings: list[Finding] = []
    with or_broken(findings, "store", url, advice=_READ):
        findings += _read(url, needed=not write)
    if write:
        from scale_video.store.union import store_urls

        place = store_urls(url)[-1]  # where a job on several stores writes
        with or_broken(findings, "store", "writing", advice=_WRITE):
            findings += try_writing(place)
    return findings


def _read(url: str, *, needed: bool) -> list[Finding]:
    from scale_video.store.errors import StoreNotFoundError
    from scale_video.store.read import FeatureStore
    from scale_video.store.union import open_stores

    started = time.perf_counter()
    try:
        store = open_stores(url)
    except StoreNotFoundError:
        return [
            Finding(
                "store", url, "broken" if needed else "missing", "no store", "`scale-video extract` makes one there"
            )
        ]
    dataset, version = store.attributes["dataset"], store.attributes["format_version"]
    took = time_text(time.perf_counter() - started)
    findings = [
        Finding("store", url, "ok", f"{store.num_videos} videos of {dataset}, format {version}, opened in {took}")
    ]
    parts = (store,) if isinstance(store, FeatureStore) else store.stores
    for part in parts:
        for view in part.views():
            for backbone in part.backbones(view):
                name = f"{view}/{backbone}" if len(parts) == 1 else f"{Path(part.url).name}: {view}/{backbone}"
                advice = "`scale-video verify` tells what is damaged"
                with or_broken(findings, "store", name, advice=advice):
                    findings.append(_read_block(part, view, backbone, name=name))
    return findings


def _read_block(store: "FeatureStore", view: str, backbone: str, *, name: str) -> Finding:
    there = store.committed(view, backbone)
    num_there = int(there.sum())
    if num_there == 0:
        return Finding("store", name, "missing", f"none of {len(there)} blocks", "`scale-video extract` makes them")
    started = time.perf_counter()
    block = store.read_block(view, backbone, int(there.argmax()))
    seconds = time.perf_counter() - started
    found = f"{num_there} of {len(there)} blocks; read one ({size_text(block.features.nbytes)}) in {time_text(seconds)}"
    if num_there < len(there):
        return Finding("store", name, "warning", found, "`scale-video extract` goes on with it")
    return Finding("store", name, "ok", found)


def try_writing(url: str) -> list[Finding]:
    """Make a store of one video beside a store, by the code of jobs, and take it away again.

    Args:
        url: path or URL of the store, which need not exist; nothing in it is touched.
    """
    from scale_video.store.errors import StoreError, StoreLockedError
    from scale_video.store.location import StoreLocation
    from scale_video.store.lock import StoreLock
    from scale_video.store.lock_file import LockFile

    scratch = StoreLocation.of(f"{url.rstrip('/')}.doctor-{uuid.uuid4().hex[:8]}")
    findings: list[Finding] = []
    with StoreLock.acquire(scratch.url, purpose="doctor") as lock:
        try:
            try:
                StoreLock.acquire(scratch.url, purpose="doctor").release()
                raise StoreError("two jobs got the lock at once: creation is not exclusive here")
            except StoreLockedError:
                findings.append(Finding("store", "lock", "ok", "created exclusively; a second job was refused"))
            findings.append(_ages(LockFile(scratch).age_seconds()))
            started = time.perf_counter()
            _write_and_compare(scratch.url, lock_token=lock.token)
            took = time_text(time.perf_counter() - started)
            how = "flushed to disk" if scratch.is_local else "stored"
            findings.append(
                Finding("store", "writing", "ok", f"a block was written, {how}, verified and deleted in {took}")
            )
        finally:
            scratch.remove()
    if left := scratch.entries():
        findings.append(Finding("store", "deleting", "warning", f"{scratch.url} still has {', '.join(left)}", _WRITE))
    return findings


def _ages(age_seconds: float | None) -> Finding:
    if age_seconds is None:
        advice = "a job that died on another machine keeps its lock here until --break-lock"
        return Finding("store", "times", "warning", "files tell no time of modification", advice)
    return Finding("store", "times", "ok", "files tell when they were modified")


def _write_and_compare(url: str, *, lock_token: str) -> None:
    """Write one block of one video, and read it back.

    Raises:
        DamagedBlockError: what is read is not what was written.
    """
    import numpy as np

    from scale_video.store.clip_plan import ClipPlan
    from scale_video.store.create import add_backbone, create_store
    from scale_video.store.errors import DamagedBlockError
    from scale_video.store.feature_block import FeatureBlock
    from scale_video.store.read import FeatureStore
    from scale_video.store.verify import verify_store
    from scale_video.store.video_probe import VideoProbe, VideoStatus
    from scale_video.store.video_table import VideoTable
    from scale_video.store.write import BlockWriter

    name = ("doctor.mp4",)
    valid = np.ones((1, 2), dtype=bool)
    plan = ClipPlan(
        view="random",
        parameters={},
        coordinates=np.linspace(0, 1, 14, dtype=np.float32).reshape(1, 2, 7),
        valid=valid,
        planned=np.ones(1, dtype=bool),
    )
    probe = VideoProbe(VideoStatus.OK, duration_seconds=1, frames_per_second=10, num_frames=10, height=4, width=4)
    create_store(
        url,
        videos=VideoTable(ids=name, paths=name, groups=name),
        probes=[probe],
        plans=[plan],
        attributes={"dataset": "folder"},
    )
    add_backbone(url, view="random", name="doctor", feature_dim=8, weights_digest="0", attributes={})
    features = np.arange(16, dtype=np.float16).reshape(1, 2, 8)
    block = FeatureBlock(0, features, valid, np.array([VideoStatus.OK], dtype=np.uint8), ("",))
    BlockWriter(url, view="random", backbone="doctor", lock_token=lock_token).write(block)
    verify_store(url).raise_if_damaged()
    read = FeatureStore.open(url).read_block("random", "doctor", 0)
    if not np.array_equal(read.features, features):
        raise DamagedBlockError("a block that was just written reads otherwise")
