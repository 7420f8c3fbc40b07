"""What answers requests: each asks the explorer in a thread, and renders a template, in which nothing is markup."""

import asyncio
import mimetypes
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import jinja2
from tornado.web import Application, HTTPError, RequestHandler, StaticFileHandler

from scale_video.pipelines.explorer.data_files import NoPictureError
from scale_video.pipelines.explorer.explorer import Explorer
from scale_video.pipelines.explorer.guard import HEADERS, Guard
from scale_video.pipelines.explorer.table_page import COLUMNS
from scale_video.pipelines.explorer.url_state import TableState, VideoState
from scale_video.store.errors import StoreError

HERE: Final = Path(__file__).parent
_IF_UNCHANGED: Final = "private, no-cache"
"""Kept by a browser, which asks each time whether it still holds."""
_VIDEO: Final = r"/video/([0-9]{1,12})"
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Serving:
    """What every handler has."""

    explorer: Explorer
    guard: Guard
    templates: jinja2.Environment
    pages: Executor
    """Threads that find what pages show."""
    pictures: Executor
    """Threads that wait for decoders."""
    cookie: str
    """Name of the one that holds the token."""
    edition: str
    """Of this explorer: another one at the same address may show other videos."""


def make_application(serving: Serving) -> Application:
    """All addresses, and what answers there."""
    return Application(
        [
            (r"/", TableHandler),
            (_VIDEO, VideoHandler),
            (rf"{_VIDEO}/frames\.png", FramesHandler),
            (rf"{_VIDEO}/thumbnail\.png", ThumbnailHandler),
            (rf"{_VIDEO}/clip/([0-9]{{1,6}})\.png", StripHandler),
            (rf"{_VIDEO}/clip/([0-9]{{1,6}})\.mp4", FilmHandler),
            (rf"{_VIDEO}/file", FileHandler, {"path": ""}),
            (r"/progress\.json", ProgressHandler),
            (r"/static/([a-z.-]+)", OwnFileHandler, {"path": str(HERE / "static")}),
        ],
        default_handler_class=NotFoundHandler,
        log_function=lambda handler: None,
        serving=serving,
    )


def make_templates() -> jinja2.Environment:
    """The templates; every value is escaped, and a name that is missing is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


class GuardedHandler(RequestHandler):
    """Refuses who may not look, before anything is looked up."""

    is_public = False
    """Whether a token is not asked for."""

    @property
    def serving(self) -> Serving:
        """What all handlers have."""
        found: Serving = self.settings["serving"]
        return found

    @property
    def explorer(self) -> Explorer:
        """What pages are made of."""
        return self.serving.explorer

    def set_default_headers(self) -> None:
        """Of every answer, errors included."""
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Cache-Control", "no-store")

    def prepare(self) -> None:
        """Check host, origin and token.

        Raises:
            HTTPError: 403.
        """
        guard, headers = self.serving.guard, self.request.headers
        if not guard.allows_host(self.request.host):
            raise HTTPError(403, "this is not a name of this server; use its address, or localhost")
        if not guard.allows_origin(headers.get("Sec-Fetch-Site"), headers.get("Sec-Fetch-Dest")):
            raise HTTPError(403, "pages of other sites may lead here, but not load anything from here")
        token = self.get_query_argument("token", None)
        if token is not None and guard.token is not None and guard.allows(token):
            self._let_in(guard.token)
        elif not self.is_public and not guard.allows(self.get_cookie(self.serving.cookie)):
            raise HTTPError(403, "open the address with ?token=… that `scale-video explore` printed")

    def _let_in(self, token: str) -> None:
        """Keep the token in a cookie, out of the reach of scripts and of other sites, and out of the address."""
        self.set_cookie(self.serving.cookie, token, httponly=True, samesite="Strict", path="/")
        # No redirect: after one that began at another site, browsers would not send a Strict cookie.
        self.set_header("Refresh", "0; url=/")
        self.finish("One moment …")

    async def ask(self, executor: Executor, question: Callable[[], Result]) -> Result:
        """Have a question answered in a thread.

        Raises:
            HTTPError: the answer is an error that is meant for people.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, question)
        except ValueError as error:
            raise HTTPError(400, "%s", error) from error
        except (StoreError, OSError) as error:
            raise HTTPError(500, "%s", error) from error

    def arguments(self) -> dict[str, str]:
        """The query; of a name that is given twice the last value."""
        return {name: self.get_query_argument(name) for name in self.request.query_arguments}

    def known_row(self, text: str) -> int:
        """A row of the store.

        Raises:
            HTTPError: there is none of this number.
        """
        row = int(text)
        if row >= self.explorer.store.num_videos:
            raise HTTPError(404, "there is no video %d; rows are 0 to %d", row, self.explorer.store.num_videos - 1)
        return row

    def show(self, template: str, **values: Any) -> None:
        """Render a page."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        explorer = self.explorer
        page = self.serving.templates.get_template(template)
        self.finish(page.render(explorer=explorer, store=explorer.store, catalogue=explorer.catalogue, **values))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """An error as a page; what was not foreseen is on stderr."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        message = "something went wrong here; the terminal says more"
        if isinstance(error, HTTPError):
            message = error.log_message % error.args if error.log_message else self._reason
        self.show("error.html", status=status_code, message=" ".join(message.split()))

    def log_exception(self, *exc_info: Any) -> None:
        """Say on stderr what was not foreseen, whatever Dask made of Tornado's logs; the rest is on the page."""
        if not isinstance(exc_info[1], HTTPError):
            traceback.print_exception(*exc_info)


class NotFoundHandler(GuardedHandler):
    """All other addresses."""

    def prepare(self) -> None:
        """Nothing is there, whoever asks; but only those who may look are told.

        Raises:
            HTTPError: always.
        """
        super().prepare()
        if not self._finished:
            raise HTTPError(404, "there is no such page")


class PageHandler(GuardedHandler):
    """Pages to look at. When one has been shown, what others need is loaded and computed: it would have waited."""

    def on_finish(self) -> None:
        """Begin, unless that is done."""
        if self.get_status() == 200:
            self.explorer.begin()


class TableHandler(PageHandler):
    """The table of videos."""

    async def get(self) -> None:
        """Show a screenful of it."""
        arguments = self.arguments()
        page = await self.ask(self.serving.pages, lambda: self.explorer.table(TableState.parse(arguments)))
        self.show("table.html", page=page, state=page.state, columns=COLUMNS)


class VideoHandler(PageHandler):
    """The page of a video."""

    async def get(self, text: str) -> None:
        """Show it."""
        row, arguments = self.known_row(text), self.arguments()
        page = await self.ask(self.serving.pages, lambda: self.explorer.video(row, VideoState.parse(arguments)))
        self.show("video.html", page=page, state=page.state)


class PictureHandler(GuardedHandler):
    """Pictures; where there is none, one that says why, so that a page shows the reason in its place."""

    async def picture(self, kind: str, make: Callable[[], bytes]) -> None:
        """Make and send one, unless the browser has it from this very explorer."""
        self.set_etag_header()
        if self.check_etag_header():
            self.set_status(304)
            return

        def made() -> bytes | str:
            try:
                return make()
            except NoPictureError as error:
                return str(error)

        found = await self.ask(self.serving.pictures, made)
        if isinstance(found, bytes):
            self.set_header("Content-Type", kind)
            self.set_header("Cache-Control", _IF_UNCHANGED)
            self.finish(found)
        elif kind == "image/png":
            self.set_header("Content-Type", "image/svg+xml; charset=utf-8")
            self.finish(self.serving.templates.get_template("no_picture.svg").render(reason=found))
        else:
            raise HTTPError(404, "%s", found)

    def compute_etag(self) -> str:
        """What a picture shows follows from its address, as long as the explorer is the same."""
        return f'"{self.serving.edition}"'


class FramesHandler(PictureHandler):
    """Frames of a video."""

    async def get(self, text: str) -> None:
        """Send them."""
        row, arguments = self.known_row(text), self.arguments()
        await self.picture("image/png", lambda: self.explorer.frames(row, VideoState.parse(arguments)))


class ThumbnailHandler(PictureHandler):
    """Small frames of a video."""

    async def get(self, text: str) -> None:
        """Send them."""
        row = self.known_row(text)
        await self.picture("image/png", lambda: self.explorer.thumbnail(row))


class StripHandler(PictureHandler):
    """Frames of a clip as the backbone sees them."""

    async def get(self, text: str, clip: str) -> None:
        """Send them."""
        row, arguments = self.known_row(text), self.arguments()
        await self.picture("image/png", lambda: self.explorer.strip(row, int(clip), VideoState.parse(arguments)))


class FilmHandler(PictureHandler):
    """A clip as the backbone sees it, to be played."""

    async def get(self, text: str, clip: str) -> None:
        """Send it."""
        row, arguments = self.known_row(text), self.arguments()
        await self.picture("video/mp4", lambda: self.explorer.film(row, int(clip), VideoState.parse(arguments)))


class ProgressHandler(GuardedHandler):
    """What is being computed."""

    def get(self) -> None:
        """Tell how far it is."""
        tasks = self.explorer.background.tasks()
        self.finish({"tasks": [{"title": t.title, "percent": t.percent, "finished": t.finished} for t in tasks]})


class OwnFileHandler(GuardedHandler, StaticFileHandler):
    """Style and script of the pages, which hold nothing of anybody's."""

    is_public = True

    def set_extra_headers(self, path: str) -> None:
        """Let a browser keep it, and ask each time whether it has changed."""
        self.set_header("Cache-Control", _IF_UNCHANGED)


class FileHandler(OwnFileHandler):
    """The file of a row, or the part of it that a player asks for; no name out of the address leads to a file."""

    is_public = False

    async def get(self, path: str, include_body: bool = True) -> None:
        """Send it."""
        row = self.known_row(path)

        def found() -> Path:
            try:
                return self.explorer.files.find(row)
            except NoPictureError as error:
                raise HTTPError(404, "%s", error) from error

        self._file = await self.ask(self.serving.pictures, found)
        self.root = str(self._file.parent)
        await super().get(self._file.name, include_body)

    async def head(self, path: str) -> None:
        """Send what ``get`` would, without the file."""
        await self.get(path, include_body=False)

    @classmethod
    def get_absolute_path(cls, root: str, path: str) -> str:
        """The file that was found for the row."""
        return str(Path(root) / path)

    def compute_etag(self) -> str:
        """By time and size: a digest of gigabytes would take longer than playing them."""
        found = self._file.stat()
        return f'"{found.st_mtime_ns:x}-{found.st_size:x}"'

    def get_content_type(self) -> str:
        """A kind of video, or bytes: never anything that a browser would run."""
        kind = mimetypes.guess_type(self._file.name)[0] or ""
        return kind if kind.startswith("video/") else "application/octet-stream"
