"""The command line as a whole: exit codes, streams, interruption, bad output, one step from command to picture."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUSY = str(ROOT / "examples" / "busy.py")
LINSCOPE = [sys.executable, "-m", "linscope"]
needs_perf_events = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root; run the tests as root"),
]


def run(*words: str, cwd: Path | None = None, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LINSCOPE, *words], capture_output=True, text=True, cwd=cwd, check=False, **options)  # type: ignore[call-overload, no-any-return]


def small_recording(conformance: Path) -> str:
    return str(conformance / "perf-data" / "perf.data.callgraph-3.8")


def test_no_arguments_show_help_as_a_usage_error() -> None:
    done = run()
    assert done.returncode == 2
    assert "usage: linscope" in done.stdout


def test_version() -> None:
    assert run("--version").stdout.startswith("linscope 0.")


def test_help_of_a_command_both_ways() -> None:
    assert run("help", "report").stdout == run("report", "--help").stdout != ""


def test_json_rows_are_objects(conformance: Path) -> None:
    done = run("report", small_recording(conformance), "--json", "--sort", "comm")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["comm"] and abs(sum(row["percent"] for row in rows) - 100) < 1e-6


def test_a_recording_from_standard_input(conformance: Path) -> None:
    path = conformance / "perf-data" / "sleep.compressed.pipe.data"
    with path.open("rb") as source:
        piped = run("report", "-", "--stats", stdin=source)
    assert piped.returncode == 0
    assert piped.stdout == run("report", str(path), "--stats").stdout


def test_a_closed_pipe_is_no_error(conformance: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as out:
        done = subprocess.run(
            [*LINSCOPE, "script", small_recording(conformance)], stdout=out, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr and b"BrokenPipe" not in done.stderr


@pytest.mark.parametrize("words", [["report"], ["script"]])
def test_a_full_disk_is_told(conformance: Path, words: list[str]) -> None:
    done = run(*words, small_recording(conformance), "-o", "/dev/full")
    assert done.returncode == 1
    assert "cannot write the result" in done.stderr and "No space left" in done.stderr


def test_a_picture_that_cannot_be_written_is_told(conformance: Path, tmp_path: Path) -> None:
    done = run("flame", small_recording(conformance), "-o", str(tmp_path / "no" / "x.html"))
    assert done.returncode == 1
    assert "cannot write the picture" in done.stderr


def test_the_form_of_the_picture_must_be_known(conformance: Path) -> None:
    done = run("flame", small_recording(conformance), "-o", "x.jpeg")
    assert done.returncode == 2
    assert ".html" in done.stderr


@pytest.mark.parametrize("suffix", ["html", "svg", "txt"])
def test_pictures_of_a_recording(conformance: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"x.{suffix}"
    done = run("flame", small_recording(conformance), "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert "chrome" in out.read_text() or suffix == "html"


def test_a_bug_of_ours_leaves_a_report(tmp_path: Path) -> None:
    code = (
        "from linscope import cli, commands\n"
        "class Broken:\n"
        "    def __getitem__(self, name): raise ZeroDivisionError('seven')\n"
        "commands.COMMANDS = Broken()\n"
        "cli.main(['report'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 70
    (report,) = tmp_path.glob("linscope-bug-*.txt")
    assert str(report) in done.stderr
    assert "seven" in report.read_text()


class TestRecordingACommand:
    """flame -- CMD: the main job."""

    pytestmark = needs_perf_events

    def test_from_command_to_picture(self, tmp_path: Path) -> None:
        page = tmp_path / "flame.html"
        done = run("flame", "-o", str(page), "--keep", "kept.data", "--", "python3", BUSY, "0.7", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "rounds in 0.7 s" in done.stdout
        assert "call tree" in done.stdout and "_start" not in done.stderr
        assert page.stat().st_size > 20_000
        again = run("report", "kept.data", "--json", "--sort", "sym", cwd=tmp_path)
        symbols = [json.loads(line)["sym"] for line in again.stdout.splitlines()[:40]]
        assert any("_PyEval_EvalFrameDefault" in s for s in symbols)

    def test_the_exit_status_is_the_commands(self, tmp_path: Path) -> None:
        done = run("flame", "-o", "x.txt", "--", "sh", "-c", "exit 3", cwd=tmp_path)
        assert done.returncode == 3
        assert (tmp_path / "x.txt").exists()

    def test_a_command_that_is_not_there(self, tmp_path: Path) -> None:
        done = run("flame", "--", "no-such-program", cwd=tmp_path)
        assert done.returncode in (1, 2, 127)
        assert "no-such-program" in done.stderr and "Traceback" not in done.stderr

    def test_a_recording_and_a_command_are_too_much(self, tmp_path: Path) -> None:
        done = run("flame", "perf.data", "--", "true", cwd=tmp_path)
        assert done.returncode == 2

    def test_interruption_draws_what_there_is(self, tmp_path: Path) -> None:
        """Ctrl-C reaches us and the program; the picture so far is drawn, and the exit code says so."""
        program = (
            "import signal, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit(0)); print('ready', flush=True)\n"
            "while True: sum(range(1000))"
        )
        child = subprocess.Popen(
            [*LINSCOPE, "flame", "-o", "x.txt", "--", sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            process_group=0,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        os.killpg(child.pid, signal.SIGINT)
        _, errors = child.communicate()
        assert child.returncode == 130, errors
        assert (tmp_path / "x.txt").exists()
        assert "Traceback" not in errors


@pytest.mark.parametrize("words", [["--help"], ["report", "--stats"]])
def test_closed_standard_streams_are_no_error(conformance: Path, words: list[str]) -> None:
    """As a daemon starts programs: the shell's >&- closes the descriptor."""
    arguments = words if words == ["--help"] else [*words, small_recording(conformance)]
    closed = ["sh", "-c", 'exec "$@" <&- >&-', "sh", *LINSCOPE, *arguments]
    done = subprocess.run(closed, stderr=subprocess.PIPE, check=False)
    assert (done.stderr, done.returncode) == (b"", 0)


@pytest.mark.parametrize(
    "words",
    ["record --call-graph dwarf,x", "record -z 99", "record -c 0", "record -D -1", "record -C 99999",
     "record --max-stack 65536 -g", "record -e cpu-clock/freq=0/", "stat -r 0", "stat -D -1", "stat -r 2 -I 9"],
)  # fmt: skip
def test_impossible_numbers_are_usage_errors(words: str, tmp_path: Path) -> None:
    done = run(*words.split(), "--", "true", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "" and "bug" not in done.stderr
    assert not list(tmp_path.iterdir()), "nothing is begun"


class TestStat:
    pytestmark = needs_perf_events

    def test_intervals_end_with_the_status_of_the_command(self) -> None:
        done = run("stat", "-I", "1000", "--json", "-e", "cs,rffffff", "--", "sh", "-c", "exit 3")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 3
        assert [(row["event"], row["note"]) for row in rows] == [("cs", ""), ("rffffff", "not supported")]
        assert isinstance(rows[0]["count"], int) and rows[1]["count"] is None

    def test_each_interval_is_there_at_once(self) -> None:
        words = ["stat", "-I", "20", "--json", "-e", "task-clock", "--", "sleep", "60"]
        with subprocess.Popen([*LINSCOPE, *words], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["event"] == "task-clock"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130


def test_folded_stacks_have_no_duration(tmp_path: Path) -> None:
    (tmp_path / "stacks").write_text("prog;main;a 5\nprog;main 3\n")
    assert run("flame", "stacks", cwd=tmp_path).stdout.splitlines()[1:3] == ["2 stacks", "8 samples"]
