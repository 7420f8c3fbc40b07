"""What the explorer's server answers, whom, and with which bytes; and how it ends."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from scale_video.pipelines.explorer import guard, outcomes, pictures
from scale_video.pipelines.explorer.explorer import Explorer, ExploreRequest
from scale_video.pipelines.explorer.guard import Guard
from scale_video.store.create import create_store
from scale_video.store.video_probe import VideoProbe, VideoStatus
from scale_video.store.video_table import VideoTable

VIDEO_PAGES = ("/video/0", "/video/3?clip=1&of=clip&by=h", "/video/7", "/video/50?among=same&by=cls&top=24")


@pytest.mark.parametrize("path", ["/", "/?search=fly&sort=-duration", *VIDEO_PAGES])
def test_pages_are_there_and_let_nothing_in_that_is_not_ours(server: Any, path: str) -> None:
    status, headers, body = server.get(path)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    page = body.decode()
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/static/explorer.js" defer>']
    assert not re.search(r"<[^>]+\s(style|on\w+)=", page)  # what such a policy forbids


def test_a_store_in_a_bucket_is_shown_like_one_on_disk(
    server: Any, explored: Any, serve: Callable[..., Any], store_maker: Callable[..., str], s3_bucket: str
) -> None:
    there = ExploreRequest(store_maker(f"{s3_bucket}/films.zarr"), checkpoint=explored.checkpoint, num_decoders=1)
    with serve(there) as remote:
        remote.get("/")
        remote.settle()
        for path in ("/?search=fly&sort=-duration", "/video/0", "/video/3?clip=1&of=clip&by=h"):
            status, _, body = remote.get(path)
            assert status == 200
            for what in (r"<b>(-?\d\.\d{3})</b>", r'href="/video/(\d+)'):  # scores, and videos
                found, expected = ([*re.findall(what, page.decode())] for page in (body, server.get(path)[2]))
                assert list(dict.fromkeys(found)) == list(dict.fromkeys(expected))
        assert "&lt;b&gt;bad&lt;/b&gt;" in remote.get("/video/7")[2].decode()
        assert len(re.findall(r"<b>-?\d\.\d{3}</b>", remote.get("/video/0")[2].decode())) == 12


def test_names_and_reasons_are_never_markup(server: Any) -> None:
    table = server.get("/")[2].decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.mp4" in table
    assert "<small>&lt;b&gt;bad&lt;/b&gt; &amp; worse</small>" in table
    assert "&lt;i&gt;fly&lt;/i&gt;" in table
    foreign = ('/video/0?table="><b>x</b>', "/video/0?table=search%3D%22%3E<b>x</b>", "/video/0?table=//evil.example")
    for path in ("/video/3", "/video/7", "/video/0?by=cls&top=96", "/?search=<b>x</b>", "/?sort=<b>x</b>", *foreign):
        page = server.get(quote(path, safe="/?=&%"))[2].decode()
        assert "<b>" not in re.sub(r"<b>-?\d\.\d{3}</b>", "", page)  # but for scores
        assert "<i>" not in page
        assert "alert(1)</script>" not in page
        assert not re.search(r"""href=(?!"/[^/])(?!"/")""", page)  # all that leads anywhere leads to a page of ours


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/video/60", 404, "there is no video 60; rows are 0 to 59"),
        ("/video/999999999999", 404, "there is no video 999999999999"),
        ("/video/9999999999999", 404, "there is no such page"),
        ("/video/-1", 404, "there is no such page"),
        ("/video/1/../2", 404, "there is no such page"),
        ("/video/%D9%A1", 404, "there is no such page"),
        ("/etc/passwd", 404, "there is no such page"),
        ("/static/..%2Fexplorer.py", 404, "there is no such page"),
        ("/static/nothing.js", 404, "Not Found"),
        ("/video/60/file", 404, "there is no video 60"),
        ("/video/60/frames.png", 404, "there is no video 60"),
        ("/video/20/file", 404, "the file is not on this machine; name the folder of the videos by --data"),
        ("/video/8/file", 404, "the file is a link out of the data root; --follow-links has it shown"),
        ("/video/0/clip/99.mp4", 404, "there is no clip 99"),
        ("/video/0?clip=5", 400, "the video has no clip 5 in random/tiny"),
        ("/video/0?of=frame", 400, "neighbours are of a video or of a clip"),
        ("/video/0?among=class:swim", 400, "there is no class"),
        ("/video/0?among=us", 400, "neighbours are among same, other or class:NAME"),
        ("/?features=grid/tiny", 400, "the store has no features"),
        ("/?page=x", 400, "page must be a whole number"),
        ("/?search=%ff", 400, ""),
    ],
)
def test_what_there_is_not_is_a_page_that_says_so(server: Any, path: str, status: int, message: str) -> None:
    found, headers, body = server.get(path)
    assert (found, headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert message.replace("'", "&#39;") in body.decode()
    assert "Traceback" not in body.decode()


def test_only_reading_is_possible(server: Any) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert server.get("/", method=method)[0] == 405


def test_the_file_is_sent_in_parts_as_players_ask_for_them(server: Any, explored: Any) -> None:
    whole = (explored.data / "run" / "00.mp4").read_bytes()
    status, headers, body = server.get("/video/0/file")
    assert (status, headers["content-type"], body) == (200, "video/mp4", whole)
    assert headers["accept-ranges"] == "bytes"
    status, ranged, body = server.get("/video/0/file", Range="bytes=100-199")
    assert (status, ranged["content-range"], body) == (206, f"bytes 100-199/{len(whole)}", whole[100:200])
    assert server.get("/video/0/file", Range="bytes=-50")[2] == whole[-50:]
    assert server.get("/video/0/file", Range=f"bytes={len(whole)}-")[0] == 416
    assert server.get("/video/0/file", If_None_Match=headers["etag"])[0] == 304
    assert server.get("/video/0/file", method="HEAD")[2] == b""


def test_files_are_videos_or_bytes_and_links_are_followed_on_demand(
    explored: Any, serve: Callable[..., Any], store_maker: Callable[..., str], tmp_path: Path
) -> None:
    store, data = store_maker(str(tmp_path / "s.zarr"), prefix="x/"), tmp_path / "data"
    (data / "x" / "run").mkdir(parents=True)
    (data / "x" / "run" / "00.mp4").symlink_to(explored.data / "run" / "00.mp4")
    with serve(ExploreRequest(store, data_root=data, follow_links=True)) as running:
        assert running.get("/video/0/file")[0] == 200
    with serve(ExploreRequest(store, data_root=data)) as running:
        assert running.get("/video/0/file")[0] == 404
        svg = running.get("/video/0/frames.png")
        assert (svg[0], svg[1]["content-type"]) == (200, "image/svg+xml; charset=utf-8")
        assert b"a link out of the data root" in svg[2]
    html = data / "x" / "run" / "00.html"
    html.write_text("<script>alert(1)</script>")
    with serve(ExploreRequest(store, data_root=data)) as running:
        running.explorer.files.find = lambda row: html
        assert running.get("/video/0/file")[1]["content-type"] == "application/octet-stream"


def test_clips_are_what_the_backbone_saw(server: Any, explored: Any) -> None:
    status, headers, body = server.get("/video/0/clip/2.png?features=random/tiny")
    assert (status, headers["content-type"]) == (200, "image/png")
    strip = np.asarray(Image.open(BytesIO(body)))
    assert strip.shape == (24, 4 * 24, 3)
    with av.open(BytesIO(server.get("/video/0/clip/2.mp4")[2])) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 4
    small = np.concatenate([frame[::12, ::12] for frame in frames], axis=1)  # each pixel is a block
    assert small.shape == strip.shape
    assert np.abs(small.astype(int) - strip.astype(int)).max() < 16  # yuv420p


def test_frames_are_whole_and_at_the_clips(server: Any) -> None:
    found = server.get("/video/1/frames.png")
    frames = np.asarray(Image.open(BytesIO(found[2])))
    assert frames.shape == (256, 5 * 256, 3)  # five clips
    page = server.get("/video/1")[2].decode()
    seconds = [float(text) for text in re.findall(r"<figcaption>([\d.]+) s", page)]
    for place, second in enumerate(seconds):
        square = frames[:, place * 256 : (place + 1) * 256]
        yellow = np.flatnonzero((square[64] > (150, 150, 0)).all(axis=1) & (square[64, :, 2] < 110))
        shown = yellow.mean() / 256 * 96 - 8  # the square's left edge is the number of the frame
        assert abs(shown - int(second * 12)) < 1.5
    assert np.asarray(Image.open(BytesIO(server.get("/video/1/thumbnail.png")[2]))).shape == (96, 4 * 96, 3)


def test_pictures_of_another_store_at_the_same_address_are_not_taken_from_the_browser(
    server: Any, serve: Callable[..., Any], explored: Any
) -> None:
    """Explorers of all stores are at one port, and videos are asked for by row."""
    path = "/video/0/thumbnail.png"
    _, headers, body = server.get(path)
    assert headers["cache-control"] == "private, no-cache"
    status, _, nothing = server.get(path, If_None_Match=headers["etag"])
    assert (status, nothing) == (304, b"")
    with serve(ExploreRequest(explored.store, data_root=explored.data, num_decoders=1)) as later:
        status, _, other = later.get(path, If_None_Match=headers["etag"])
        assert (status, other) == (200, body)


def test_what_cannot_be_decoded_is_a_picture_of_the_reason(
    serve: Callable[..., Any], store_maker: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, file = store_maker(str(tmp_path / "s.zarr"), prefix="x/"), tmp_path / "data" / "x" / "run" / "00.mp4"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"<b>no film</b>")
    with serve(ExploreRequest(store, data_root=tmp_path / "data", num_decoders=1)) as running:
        assert b"no picture" in running.get("/video/0/thumbnail.png")[2]
        assert running.get("/video/0/clip/0.mp4")[0] == 404
        monkeypatch.setattr(pictures, "_MAX_CLIP_BYTES", 100)
        assert "4 frames of 24² pixels" in running.get("/video/0/clip/0.png")[2].decode()


def test_frames_that_a_file_lacks_are_grey_and_the_others_are_shown(
    serve: Callable[..., Any], store_maker: Callable[..., str], explored: Any, tmp_path: Path
) -> None:
    store, file = store_maker(str(tmp_path / "s.zarr"), prefix="x/"), tmp_path / "data" / "x" / "run" / "06.mp4"
    file.parent.mkdir(parents=True)
    shutil.copy(explored.data / "run" / "00.mp4", file)  # 4 s, and the store says 10
    with serve(ExploreRequest(store, data_root=tmp_path / "data", num_decoders=1)) as running:
        frames = np.asarray(Image.open(BytesIO(running.get("/video/6/thumbnail.png")[2])))
    assert (frames[:, 192:] == 128).all()
    assert (np.abs(frames[:, :192].astype(int) - 40) < 8).mean() > 0.7


def test_the_page_of_a_file_that_cannot_be_read_has_no_place_for_frames(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.mp4").write_bytes(b"no film")
    videos = VideoTable(ids=("a.mp4",), paths=("a.mp4",), groups=("a",), labels={}, class_names={}, splits={})
    probe = VideoProbe(VideoStatus.CORRUPT, error="no film in it")
    store = str(tmp_path / "s.zarr")
    create_store(store, videos=videos, probes=[probe], plans=[], attributes={"dataset": "d"})
    with serve(ExploreRequest(store, data_root=tmp_path / "data")) as running:
        page = running.get("/video/0")[2].decode()
    assert "corrupt: no film in it" in page
    assert "<figure" not in page
    assert "decoded here" not in page


def test_a_video_that_is_not_here_shows_its_neighbours_all_the_same(server: Any) -> None:
    page = server.get("/video/20")[2].decode()
    assert 'id="no-file">the file is not on this machine' in page
    assert page.count('class="card"') == 12
    assert "<video" not in page


def test_an_unfinished_store_has_its_table_and_says_what_neighbours_wait_for(
    serve: Callable[..., Any], store_maker: Callable[..., str], tmp_path: Path
) -> None:
    store = store_maker(str(tmp_path / "half.zarr"), num_committed=3)
    with serve(ExploreRequest(store)) as running:
        running.get("/")
        running.settle()
        page = running.get("/?status=pending")[2].decode()
        assert '<strong id="found">36</strong> of 60 videos' in page
        page = running.get("/video/0")[2].decode()
        assert "run the same `scale-video extract` again" in page
        assert "have no usual place; name their folder by --data" in page


def test_statuses_that_cannot_be_read_are_said_once_and_tried_again_later(
    serve: Callable[..., Any], store_maker: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_maker(str(tmp_path / "s.zarr"))
    chunk = tmp_path / "s.zarr" / "random" / "tiny" / "status" / "c.0"
    whole = chunk.read_bytes()
    chunk.write_bytes(b"damaged")
    with serve(ExploreRequest(store)) as running:
        running.get("/")
        running.settle()
        page = running.get("/")[2].decode()
        assert "data-await" not in page  # a page that awaits what has ended is loaded anew for ever
        assert "cannot be read: it has 7 bytes" in re.findall('class="problem">([^<]*)', page)[0]
        chunk.write_bytes(whole)
        monkeypatch.setattr(outcomes, "_STALE_SECONDS", 0.0)
        running.get("/")  # which has them read again, and may see that happen or not
        running.settle()
        page = running.get("/")[2].decode()
        assert "data-await" not in page
        assert 'class="problem"' not in page
        assert "2 could not be had in full" in page


def test_a_wrong_checkpoint_is_said_on_the_page(serve: Callable[..., Any], explored: Any, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.ckpt"
    wrong.write_bytes(b"nothing")
    with serve(ExploreRequest(explored.store, checkpoint=wrong)) as running:
        running.get("/")
        running.settle()
        assert "wrong.ckpt" in re.findall('class="problem">([^<]*)', running.get("/video/0")[2].decode())[-1]
    with pytest.raises(ValueError, match="there is nothing at --checkpoint"):
        Explorer(ExploreRequest(explored.store, checkpoint=tmp_path / "no.ckpt"))
    with pytest.raises(ValueError, match="no such folder"):
        Explorer(ExploreRequest(explored.store, data_root=tmp_path / "no"))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "127.0.0.1.nip.io"])
def test_names_that_are_not_ours_are_refused(server: Any, host: str) -> None:
    for path in ("/", "/static/explorer.js", "/video/0/file", "/nothing"):
        status, _, body = server.get(path, Host=host)
        assert status in (400, 403)
        assert b"films" not in body
    assert server.get("/", Host="localhost:1")[0] == server.get("/", Host="[::1]:1")[0] == 200


def test_pages_of_other_sites_cannot_have_work_done(server: Any) -> None:
    """A picture of theirs could be our look at every clip of a store, time and again."""
    work = "/video/0?clip=0&of=clip&everywhere=1"
    for site in ("cross-site", "same-site"):
        for kind in ("image", "iframe", "empty"):
            assert server.get(work, Sec_Fetch_Site=site, Sec_Fetch_Dest=kind)[0] == 403
        assert server.get(work, Sec_Fetch_Site=site, Sec_Fetch_Dest="document")[0] == 200  # a link that was followed
    for site in ("same-origin", "none"):
        assert server.get(work, Sec_Fetch_Site=site, Sec_Fetch_Dest="image")[0] == 200


def test_no_request_waits_for_a_resolver(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(socket, "getfqdn", lambda: asked.append(1) or "machine.example")
    guard._names_of_this_machine.cache_clear()
    assert server.get("/", Host="localhost:1")[0] == server.get("/", Host="127.0.0.1:1")[0] == 200
    assert not asked
    for _ in range(3):
        assert server.get("/", Host="machine.example:1")[0] == 200
        assert server.get("/", Host="evil.example")[0] == 403
    assert len(asked) == 1
    guard._names_of_this_machine.cache_clear()


def test_a_token_opens_the_pages_and_goes_into_a_cookie(explored: Any, serve: Callable[..., Any]) -> None:
    token = "a-token-that-nobody-guesses"
    with serve(ExploreRequest(explored.store), token=token) as running:
        for path in ("/", "/video/0", "/video/0/file", "/progress.json", "/nothing", "/?token=wrong", "/?token="):
            status, _, body = running.get(path)
            assert status == 403
            assert b"films" not in body
        assert running.get("/", Cookie="other=1")[0] == 403
        status, headers, body = running.get(f"/?token={token}")
        assert (status, headers["refresh"]) == (200, "0; url=/")
        assert b"films" not in body
        name, _, rest = headers["set-cookie"].partition("=")
        assert "HttpOnly" in rest
        assert "SameSite=Strict" in rest
        assert running.get("/", Cookie=f"{name}={token}")[0] == 200
        assert running.get("/", Cookie=f"{name}={token}x")[0] == 403


def test_beyond_loopback_there_is_always_a_token() -> None:
    assert Guard.of("127.0.0.1", None).token is Guard.of("::1", None).token is Guard.of("localhost", None).token is None
    made = {Guard.of(host, None).token for host in ("0.0.0.0", "::", "192.168.1.2", "machine.example")}
    assert len(made) == 4
    assert all(token and len(token) >= 32 for token in made)
    assert Guard.of("machine.example", None).allows_host("machine.example:8765")
    assert Guard.of("0.0.0.0", None).allows_host("192.168.1.2")
    with pytest.raises(ValueError, match="at least 16 characters, got 5"):
        Guard.of("127.0.0.1", "short")
    with pytest.raises(ValueError, match="no escape"):
        Guard.of("127.0.0.1", "with a blank in it &c")


def test_ctrl_c_ends_it_and_everything_that_it_started(explored: Any) -> None:
    command = [sys.executable, "-m", "scale_video.pipelines.cli", "explore", explored.store]
    command += ["--data", str(explored.data), "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert urlopen(address, timeout=60).status == 200
        assert urlopen(f"{address}video/0/thumbnail.png", timeout=60).headers["Content-Type"] == "image/png"
        children = psutil.Process(process.pid).children(recursive=True)
        assert children  # a decoder
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - started < 20
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert not psutil.wait_procs(children, timeout=5)[1]
    assert os.path.basename(address) == ""  # noqa: PTH119 - an address
