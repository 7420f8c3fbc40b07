"""Tables, notes and errors: on a terminal, in a pipe, and with names that look like markup."""

import doctest
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Mapping

import pytest
from click.testing import CliRunner

from scale_video.pipelines import console
from scale_video.pipelines.cli import main
from scale_video.pipelines.console import line, note, print_table, report_error, ticking

HOSTILE = "<script>alert(1)</script> [bold red]no[/bold red] :smile:.mp4"
ESCAPE = "\x1b["
SHOW_ALL = """
from scale_video.pipelines.console import note, print_table, report_error, ticking
with ticking("counting [red]", 20) as ticker:
    for done in range(1, 21):
        ticker.update(done, "[blink]detail")
note("warning: a [red] note")
print_table("title", ("name", "number"), [("row", "1")], numbers=1)
report_error("wrong [red]")
"""


def on_terminal(script: str, **environment: str) -> str:
    """What a script writes to a terminal of 100 columns."""
    controller, terminal = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=terminal,
        stderr=terminal,
        stdin=terminal,
        env={**plain, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
    )
    os.close(terminal)
    pieces = []
    while True:
        try:
            piece = os.read(controller, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(controller)
    assert process.wait(timeout=60) == 0
    return b"".join(pieces).decode()


def in_pipe(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TERM": "xterm-256color", **environment},
    )


def test_a_terminal_has_colours_and_a_bar() -> None:
    shown = on_terminal(SHOW_ALL)
    assert re.search(r"\x1b\[1;31merror:\x1b\[0m wrong \[red\]", shown)
    assert re.search(r"\x1b\[33mwarning:\x1b\[0m a \[red\] note", shown)
    assert "counting [red]" in shown
    assert "[blink]detail" in shown
    assert "20/20" in shown
    assert "\x1b[?25l" in shown  # the cursor is hidden while the bar moves …
    assert "\x1b[?25h" in shown  # … and given back


def test_no_color_is_heeded_on_a_terminal() -> None:
    shown = on_terminal(SHOW_ALL, NO_COLOR="1")
    codes = [code for found in re.findall(r"\x1b\[([0-9;]*)m", shown) for code in found.split(";")]
    assert not [code for code in codes if code and 30 <= int(code) <= 107]


def test_a_dumb_terminal_gets_lines() -> None:
    shown = on_terminal(SHOW_ALL, TERM="dumb")
    assert ESCAPE not in shown
    assert "counting [red]: 20/20, [blink]detail" in shown


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
def test_a_pipe_gets_lines_without_codes(environment: Mapping[str, str]) -> None:
    result = in_pipe(SHOW_ALL, **environment)
    assert ESCAPE not in result.stdout + result.stderr
    assert "\r" not in result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("counting")] == [
        f"counting [red]: {done}/20, [blink]detail" for done in range(2, 21, 2)
    ]
    assert result.stderr.splitlines()[-1] == "error: wrong [red]"
    assert "row" in result.stdout


def test_forced_colours_make_no_bar_in_a_pipe() -> None:
    result = in_pipe(SHOW_ALL, FORCE_COLOR="1")
    assert "\x1b[1;31merror:" in result.stderr
    assert "\x1b[?25l" not in result.stderr
    assert "counting [red]: 20/20" in result.stderr


def test_nothing_in_a_pipe_is_cut_or_folded(capsys: pytest.CaptureFixture[str]) -> None:
    long = "directory/" * 60 + HOSTILE
    print_table(f"title {long}", ("name", "number"), [(long, "1"), (HOSTILE, "22")], numbers=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"title {long}"
    assert sum(long in line for line in lines[1:]) == 1
    assert sum(HOSTILE in line for line in lines) == 3


def test_an_error_is_one_line_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    report_error(f"first\nsecond   {HOSTILE}")
    note(HOSTILE)
    captured = capsys.readouterr()
    assert captured.err == f"error: first second {HOSTILE}\n{HOSTILE}\n"
    assert captured.out == ""


def test_what_a_terminal_would_obey_is_shown_instead(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctest.testmod(console) == (0, 1)
    name = "a\x1b[2J\x07\r\u202e\udcff\x9b1m.mp4"
    shown = r"a\x1b[2J\x07\r\u202e\udcff\x9b1m.mp4"
    print_table(name, (name,), [(name,)])
    line(name)
    note(name)
    report_error(name)
    captured = capsys.readouterr()
    assert captured.out.count(shown) == 4
    assert captured.err.count(shown) == 1  # an error joins its lines, so blanks are blanks there
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", captured.out + captured.err)


def test_progress_of_nothing_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ticking("nothing", 0):
        pass
    assert capsys.readouterr().err == ""


class TestStatus:
    """How the program ends: the table in docs/command-line.md."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("knn", "--speed", "3"), "No such option.*--speed.*; see `scale-video knn --help`"),
            (("--speed",), "No such option.*--speed.*; see `scale-video --help`"),
            (("walk",), "No such command 'walk'.*; see `scale-video --help`"),
            (("info",), "Missing argument 'STORE'; see `scale-video info --help`"),
            (("pretrain", "--epochs", "0"), "Invalid value for '--epochs': 0 is not in the range x>=1; see"),
        ],
    )
    def test_usage_is_2_and_a_line(self, arguments: tuple[str, ...], message: str) -> None:
        result = CliRunner().invoke(main, arguments, prog_name="scale-video")
        assert result.exit_code == 2
        assert re.match(f"error: {message}", result.stderr)
        assert len(result.stderr.splitlines()) == 1
        assert result.stdout == ""

    def test_without_a_command_help_goes_to_stderr(self) -> None:
        result = CliRunner().invoke(main, [])
        assert result.exit_code == 2
        assert "Stage 1" in result.stderr
        assert result.stdout == ""

    def test_help_and_version_are_0(self) -> None:
        for arguments in (["--help"], ["--version"], ["knn", "--help"]):
            result = CliRunner().invoke(main, arguments)
            assert (result.exit_code, result.stderr) == (0, "")

    def test_an_unforeseen_error_keeps_its_traceback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(store: str) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr("scale_video.pipelines.inspection.run_info", fail)
        result = CliRunner().invoke(main, ["info", "x.zarr"])
        assert isinstance(result.exception, RuntimeError)

    def test_too_little_memory_is_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(store: str) -> None:
            raise MemoryError("Unable to allocate 3 TiB")

        monkeypatch.setattr("scale_video.pipelines.inspection.run_info", fail)
        result = CliRunner().invoke(main, ["info", "x.zarr"])
        assert (result.exit_code, result.stderr) == (1, "error: Unable to allocate 3 TiB\n")

    def test_ctrl_c_is_130_in_any_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(store: str) -> None:
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr("scale_video.pipelines.inspection.run_info", interrupt)
        result = CliRunner().invoke(main, ["info", "x.zarr"])
        assert result.exit_code == 130
        assert result.stderr.strip() == "interrupted by SIGINT"

    def test_a_reader_that_has_had_enough_is_141_and_silent(self) -> None:
        script = "from scale_video.pipelines.cli import main; main()"
        with subprocess.Popen(
            [sys.executable, "-c", script, "completion", "bash"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 141


class TestHelp:
    def test_every_command_is_listed_under_one_heading(self) -> None:
        shown = CliRunner().invoke(main, ["--help"], terminal_width=120).output
        for name, command in main.commands.items():
            assert len(re.findall(rf"^  {name} ", shown, re.M)) == 1, name
            assert command.get_short_help_str(200) in shown

    @pytest.mark.parametrize("columns", [80, 120])
    def test_no_line_is_wider_than_the_terminal(self, columns: int) -> None:
        for path in [(), *((name,) for name in main.commands)]:
            shown = CliRunner().invoke(main, [*path, "--help"], terminal_width=columns).output
            wide = [line for line in shown.splitlines() if len(line) > columns]
            assert not wide, path
            assert "Commands:" not in shown
