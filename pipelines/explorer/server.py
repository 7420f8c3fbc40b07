"""``scale-video explore``: serve the pages until somebody ends it."""

import asyncio
import secrets
import signal
import socket
import webbrowser
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from urllib.parse import urlencode

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from scale_video.pipelines.explorer.explorer import Explorer, ExploreRequest
from scale_video.pipelines.explorer.guard import Guard
from scale_video.pipelines.explorer.handlers import Serving, make_application, make_templates

_PAGE_THREADS = 2
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def run_explore(
    request: ExploreRequest, *, host: str, port: int, token: str | None, on_start: Callable[[str], None]
) -> None:
    """Serve until Ctrl-C, ``kill`` or a closed terminal.

    Args:
        request: What is shown.
        host: Where to listen.
        port: Likewise; 0 takes a free one.
        token: What opens the pages; beyond loopback one is made where none is given.
        on_start: Called with the address when pages can be asked for.

    Raises:
        OSError: the port is taken.
        StoreError: the store cannot be opened.
        ValueError: something is asked for that there is not.
    """
    guard = Guard.of(host, token)
    sockets = _listen(host, port)
    try:
        with closing(Explorer(request)) as explorer:
            asyncio.run(_serve_until_told(explorer, guard, sockets, on_start))
    finally:
        for one in sockets:
            one.close()


@contextmanager
def serving(explorer: Explorer, guard: Guard, sockets: list[socket.socket]) -> Iterator[str]:
    """Serve while the block runs, in the loop that runs it; gives the address."""
    port = sockets[0].getsockname()[1]
    pages = ThreadPoolExecutor(_PAGE_THREADS, thread_name_prefix="explorer-pages")
    pictures = ThreadPoolExecutor(explorer.num_decoders, thread_name_prefix="explorer-pictures")
    application = make_application(
        Serving(
            explorer,
            guard,
            make_templates(),
            pages,
            pictures,
            cookie=f"scale-video-{port}",
            edition=secrets.token_hex(8),
        )
    )
    server = HTTPServer(application, max_body_size=1, max_header_size=1 << 16)
    server.add_sockets(sockets)
    try:
        yield _address(guard, port)
    finally:
        server.stop()
        explorer.close()  # before its threads are waited for: a long search or a slow decoder may hold one
        for threads in (pages, pictures):
            threads.shutdown(cancel_futures=True)


async def _serve_until_told(
    explorer: Explorer, guard: Guard, sockets: list[socket.socket], on_start: Callable[[str], None]
) -> None:
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    def tell() -> None:
        told.set()
        for number in heeded:  # a second signal ends it at once
            loop.remove_signal_handler(number)

    for number in heeded:
        loop.add_signal_handler(number, tell)
    with serving(explorer, guard, sockets) as address:
        on_start(address)
        await told.wait()


def _listen(host: str, port: int) -> list[socket.socket]:
    try:
        return bind_sockets(port, host)
    except OSError as error:
        raise OSError(
            f"cannot listen at {host}:{port} ({error.strerror or error}); choose another --port, or 0 for a free one"
        ) from error


def _address(guard: Guard, port: int) -> str:
    host = f"[{guard.host}]" if ":" in guard.host else guard.host
    query = "" if guard.token is None else "?" + urlencode({"token": guard.token})
    return f"http://{host}:{port}/{query}"


def open_browser(address: str) -> None:
    """Show the first page, where there is a browser to show it in."""
    webbrowser.open(address)
