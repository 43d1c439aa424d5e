"""Probes of programs in this kernel: defined, listed, counted, recorded, removed; also when somebody is in the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linscope.errors import ExpressionError, NotInKernel, UnknownNameError, UsageError
from linscope.session.journal import Journal
from linscope.session.tracing.error_log import ErrorLog
from linscope.session.tracing.options import ProbeChoice
from linscope.session.tracing.probes import (
    add_probes,
    compile_texts,
    define_probes,
    delete_probes,
    list_probes,
    select_probes,
    users_of,
)
from linscope.sources.probes.definition import ProbeArgument, ProbeDefinition
from linscope.sys.tracefs import read_text, write_text

pytestmark = pytest.mark.kernel
SOURCE = Path(__file__).resolve().parents[1] / "sources" / "probed.c"
NAME = f"t{os.getpid()}"  # what our events begin with: others may have theirs in the same group


@pytest.fixture
def program(probed_program: Path) -> str:
    """Where the program is, as text."""
    return str(probed_program)


@pytest.fixture
def tracefs(uprobe_tracefs: str, program: str) -> Iterator[str]:
    """Where tracefs is; the definitions are as before at the end."""
    place = uprobe_tracefs
    yield place
    left = [one for one in list_probes(place) if one.definition.target.startswith(program)]
    delete_probes([one.definition for one in left], place)
    assert not left


def linscope(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "linscope", *words], capture_output=True, text=True, check=False)


def mine(tracefs: str, program: str) -> list[str]:
    """Lines of our program in uprobe_events, as they are."""
    return [line for line in read_text(f"{tracefs}/uprobe_events").splitlines() if f" {program}:" in line]


def test_add_list_count_and_delete(tracefs: str, program: str) -> None:
    done = linscope("probe", "add", f"p:{NAME}_in {program}:probed n=%di:s32", f"r:{NAME}_out {program}:probed $retval")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == [f"linscope:{NAME}_in", f"linscope:{NAME}_out"]
    (here, back) = mine(tracefs, program)
    assert here.startswith(f"p:linscope/{NAME}_in ") and here.endswith(" n=%di:s32")
    assert back.startswith(f"r:linscope/{NAME}_out ") and back.endswith(" retval=$retval")
    record = ["events", "record", "-q", "-e", f"linscope:{NAME}_in", "-o", f"{program}.dat"]
    done = linscope(*record, "--", program, "5")
    assert done.stdout == "985\n"
    script = linscope("script", f"{program}.dat").stdout
    assert re.findall(r"n=(\d)", script) == list("01234")
    rows = [json.loads(line) for line in linscope("probe", "list", f"{NAME}*", "--json").stdout.splitlines()]
    assert [(row["kind"], row["hits"], row["missed"], row["enabled"]) for row in rows] == [
        ("uprobe", 5, None, []),
        ("uretprobe", 0, None, []),
    ]
    assert rows[0]["target"].startswith(f"{program}:0x") and rows[0]["args"] == "n=%di:s32"
    assert linscope("probe", "del", f"{NAME}_in", f"linscope/{NAME}_out").stdout.split()[2:] == [
        f"linscope:{NAME}_in",
        f"linscope:{NAME}_out",
    ]


def test_run_shows_what_the_program_did(tracefs: str, program: str) -> None:
    done = linscope(
        "probe", "run", f"p {program}:probed n=%di:s32 text=+0(%dx):ustring if n == 1 || n == 2",
        f"r {program}:probed $retval:s32", f"u {program}:linscope:counted", "--", program, "3",
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[0] == "588"
    assert [re.sub(r".*\d: (\w+): +\(.*?\) ", r"\1 ", line) for line in lines[1:]] == [
        *(f"linscope_counted {lines[1].rpartition(' ')[2]}", "probed__return retval=195"),
        *('probed n=1 text="the text"', f"linscope_counted {lines[1].rpartition(' ')[2]}", "probed__return retval=196"),
        *('probed n=2 text="the text"', f"linscope_counted {lines[1].rpartition(' ')[2]}", "probed__return retval=197"),
    ]
    assert not mine(tracefs, program)
    words = [f"p {program}:probed n=%di", "--filter", "n == 2", "-o", f"{program}.2.dat", "--", program, "3"]
    done = linscope("probe", "run", *words)
    assert done.stdout == "588\n"
    assert len(linscope("script", f"{program}.2.dat").stdout.splitlines()) == 1


def test_two_at_once_do_not_meet(tracefs: str, program: str) -> None:
    """One session inside the other, with the same words: each has its own events, and records its own program."""
    words = ["probe", "run", f"p {program}:probed n=%di"]
    inner = [sys.executable, "-m", "linscope", *words, "--", program, "2"]
    done = linscope(*words, "-o", f"{program}.outer.dat", "--", *inner)
    assert done.stdout.count("probed:") == 2
    assert linscope("script", f"{program}.outer.dat").stdout.count("probed:") == 2
    assert not mine(tracefs, program)


def test_names_that_are_taken(tracefs: str, program: str) -> None:
    first = add_probes([f"p {program}:probed", f"p {program}:probed", f"p:{NAME} {program}:probed"], tracefs)
    names = [one.definition.name for one in first]
    assert names[1] == re.sub(r"_?(\d*)$", lambda number: f"_{int(number[1] or 0) + 1}", names[0])
    with pytest.raises(UsageError, match=f"there is an event linscope:{NAME} already"):
        add_probes([f"p:{NAME} {program}:main"], tracefs)
    with pytest.raises(UnknownNameError, match="did you mean"):
        select_probes([NAME + "x"], tracefs)
    gone, complaints = delete_probes([one.definition for one in first], tracefs)
    assert (len(gone), complaints) == (3, [])
    assert delete_probes(gone, tracefs) == ([], [])  # somebody was faster


def test_one_that_is_refused_takes_the_others_back(tracefs: str, program: str) -> None:
    """By our own check, and by the kernel, whose reason points into what was written."""
    with pytest.raises(ExpressionError, match="no function named 'pro'"):
        add_probes([f"p {program}:probed", f"p {program}:pro"], tracefs)
    definition = ProbeDefinition("user", False, "linscope", NAME, f"{program}:0x1149", (ProbeArgument("n", "%di"),))
    wrong = definition._replace(name=f"{NAME}_b", arguments=(*definition.arguments, ProbeArgument("m", "%nothing")))
    text = f"p:{NAME}_b {program}:probed n=%di m=%nothing"
    with Journal() as journal, pytest.raises(ExpressionError) as caught:
        define_probes(journal, tracefs, [ProbeChoice("", definition), ProbeChoice(text, wrong)])
    assert "Invalid register name" in str(caught.value)
    assert caught.value.position == text.index("m=")
    assert not mine(tracefs, program)


def test_a_probe_in_use_is_not_removed(tracefs: str, program: str) -> None:
    (made,) = add_probes([f"p:{NAME} {program}:probed"], tracefs)
    instance = Path(tracefs, "instances", NAME)
    instance.mkdir()
    try:
        write_text(f"{instance}/events/linscope/{NAME}/enable", "1")
        assert users_of(tracefs, "linscope", NAME) == [f"instance {NAME}"]
        done = linscope("probe", "del", NAME)
        assert done.returncode == 1
        assert f"cannot remove linscope:{NAME}: it is enabled in instance {NAME}" in done.stderr
    finally:
        instance.rmdir()
    assert delete_probes([made.definition], tracefs) == ([made.definition], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ends_that_come_early(tracefs: str, program: str, number: signal.Signals) -> None:
    """Ctrl-C removes the probes; what kill -9 leaves, the next start removes."""
    command = ["sh", "-c", f"{program} 1; exec cat"]  # which waits for the end of its input
    words = [sys.executable, "-m", "linscope", "probe", "run", f"p {program}:probed n=%di:u32", "--", *command]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "195\n"
        assert len(mine(tracefs, program)) == 1
        running.send_signal(number)
        output = running.communicate()[0]
    if number == signal.SIGINT:
        assert running.returncode == 130
        assert "n=0" in output
    else:
        assert len(mine(tracefs, program)) == 1
        assert "undone: uprobe_events" in linscope("doctor", "--clean").stdout
    assert not mine(tracefs, program)


def test_what_cannot_be_is_said(tracefs: str) -> None:
    if not Path(f"{tracefs}/kprobe_events").exists():
        with pytest.raises(NotInKernel, match="CONFIG_KPROBE_EVENTS is not set"):
            add_probes(["p vfs_read"], tracefs)
    done = linscope("probe", "add", "p vfs_read if count > 5")
    assert done.returncode == 2 and "a filter belongs to" in done.stderr
    assert "which probes" in linscope("probe", "del").stderr
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-m", "linscope", "probe", "add", "p vfs_read"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2 and "root" in done.stderr


def test_show_needs_nobody(program: str) -> None:
    """The definition that add would make, also without tracefs."""
    (one,) = compile_texts([f"p:{NAME} {program}:probed n=%di:s32"], "")
    assert re.fullmatch(rf"p:linscope/{NAME} {program}:0x\w+ n=%di:s32", one.definition.text())


def test_the_reason_is_the_newest_entry_of_the_log(tmp_path: Path) -> None:
    """Two lines of text and a caret, as Documentation/trace/ftrace.rst shows them; silent when nothing came."""
    log = tmp_path / "error_log"
    log.write_text("[ 1.5] trace_kprobe: error: Old\n  Command: p a\n           ^\n")
    before = ErrorLog(str(tmp_path))
    assert before.reason() == ("", 0)
    log.write_text(log.read_text() + "[ 2.5] trace_kprobe: error: Bad\n  Command: p:x y z\n                 ^\n")
    assert before.reason() == ("Bad", 6)
