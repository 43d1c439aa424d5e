"""bpftrace's own runtime cases (../shared/conformance/bpftrace): read, run with linscope, compare.

A case: lines of WORD TEXT; lines that begin with blanks go on with the one before.  PROG is a script, RUN a shell
command with {{BPFTRACE}} in it; AFTER runs when the probes are attached, BEFORE runs before.  Source of the format:
bpftrace, tests/README.md.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
SUITES = ROOT.parent / "shared" / "conformance" / "bpftrace"
ATTACHED = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
DEADLINE_S = 40.0  # of a case, whatever happens
_ARCHITECTURES = {"x86_64", "le"}
_HOST_PROBE = re.compile(r"^\s*(begin|end|BEGIN|END|i(nterval)?:\S+|test:\w+|bench:\w+|self:\S+)\s*$")
_OTHER_WORLDS = ("testprogs/", "/proc/", "/sys/", "netns", "--info", "-l", "kaddr", "curtask", "cgroup")


class Case(NamedTuple):
    """One case: its words, each with all its texts."""

    suite: str
    name: str
    words: dict[str, list[str]]

    @property
    def id(self) -> str:
        """suite:name"""
        return f"{self.suite}:{self.name}"

    def first(self, word: str, default: str = "") -> str:
        """The first text of a word."""
        return self.words.get(word, [default])[0]

    @property
    def script(self) -> str:
        """The script, also of a command."""
        if "PROG" in self.words:
            return self.first("PROG")
        found = re.search(r"-e\s+(?:'([^']*)'|\"([^\"]*)\")", self.first("RUN"))
        return (found[1] or found[2] or "") if found else ""

    @property
    def is_for_us(self) -> bool:
        """Whether it is for this processor."""
        wanted = self.first("ARCH")
        if not wanted:
            return True
        return any(
            (one[1:] not in _ARCHITECTURES) if one.startswith("!") else one in _ARCHITECTURES
            for one in wanted.split("|")
        )

    @property
    def needs_lab(self) -> bool:
        """Whether it needs what kernels in the cloud lack: kprobes, the function tracer, symbols of data, debugfs."""
        text = self.first("PROG") + self.first("RUN")
        listing = re.search(r"(^|\s)-l", self.first("RUN"))
        return not listing and re.search(
            r"\b(k|kr|kprobe|kretprobe|fentry|fexit|kfunc|kretfunc):|percpu_kaddr|debugf|/sys/kernel/debug", text
        ) is not None

    @property
    def is_plain(self) -> bool:
        """Whether it needs begin, end and interval probes only, and nothing of the host."""
        if any(word in self.words for word in ("AFTER", "BEFORE", "SETUP", "REQUIRES")):
            return False
        text = self.first("PROG") + self.first("RUN")
        if not self.script or any(word in text for word in _OTHER_WORLDS):
            return False
        return all(_HOST_PROBE.match(probe) for probe in probes_of(self.script))


def probes_of(script: str) -> list[str]:
    """The attach points of a script, roughly: what stands before braces at the top."""
    found: list[str] = []
    depth, start = 0, 0
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', script)
    text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    for place, letter in enumerate(text):
        if letter == "{":
            if not depth:
                head = text[start:place].split(";")[-1].strip()
                if not re.match(r"(macro|fn|struct|union|enum|config|let)\b", head):
                    found += [part for part in re.split(r"/", head)[0].split(",") if part.strip()]
            depth += 1
        elif letter == "}":
            depth -= 1
            start = place + 1
    return found


def iter_cases() -> Iterator[Case]:
    """All cases for this processor."""
    for path in sorted(SUITES.iterdir()):
        if not path.is_file():
            continue
        words: dict[str, list[str]] = {}
        last: list[str] = []
        indent = 0
        for line in [*path.read_text().splitlines(), ""]:
            if not line.strip():
                if words:
                    case = Case(path.name, words["NAME"][0], words)
                    if case.is_for_us:
                        yield case
                words, last = {}, []
            elif line[0] == "#":
                continue
            elif line[0] == " ":
                blanks = len(line) - len(line.lstrip(" "))
                last[-1] += "\n" + line[min(blanks, indent) :]
            else:
                word, _, text = line.partition(" ")
                indent = len(word) + 1
                last = words.setdefault(word, [])
                last.append(text)


def our_command(folder: Path) -> str:
    """A file named bpftrace that runs ``linscope trace``."""
    path = folder / "bpftrace"
    if not path.exists():
        code = "from linscope.cli import main; main()"
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{code}" trace "$@"\n')
        path.chmod(0o755)
    return str(path)


def build_programs(folder: Path) -> None:
    """The traced programs, and what else the cases find by relative paths."""
    (folder / "testprogs").mkdir()
    for source in sorted((HERE / "programs").glob("*.c")):
        command = ["gcc", "-g", "-O0", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", str(source)]
        built = folder / "testprogs" / source.stem
        pie = ["-pie", "-fPIE"] if source.stem.endswith("-pie") else ["-no-pie"]
        subprocess.run([*command, *pie, "-o", str(built)], check=True)
    source = HERE / "programs" / "uprobe_test.c"
    subprocess.run(
        ["gcc", "-g", "-O0", "-fno-omit-frame-pointer", "-pie", "-fPIE", str(source), "-o",
         str(folder / "testprogs" / "uprobe_test-pie")], check=True,
    )  # fmt: skip
    (folder / "runtime").mkdir()
    (folder / "runtime" / "scripts").symlink_to(HERE / "scripts")
    (folder / "runtime" / "outputs").symlink_to(SUITES / "outputs")


class Result(NamedTuple):
    """What a case gave."""

    output: str
    code: int
    timed_out: bool


def run_case(case: Case, folder: Path) -> Result:
    """Run a case in a folder that build_programs has filled."""
    command = our_command(folder)
    environment = {**os.environ, ATTACHED: "1"}
    for pair in shlex.split(" ".join(case.words.get("ENV", []))):
        name, _, value = pair.partition("=")
        environment[name] = value
    before = [_start(text, folder) for text in case.words.get("BEFORE", [])]
    children = list(before)
    try:
        for text in case.words.get("SETUP", []):
            subprocess.run(text, shell=True, cwd=folder, check=False, timeout=DEADLINE_S)
        line = _command_line(case, command, before)
        return _run(line, case, folder, environment, children)
    finally:
        for child in children:
            _end(child)
        for text in case.words.get("CLEANUP", []):
            subprocess.run(text, shell=True, cwd=folder, check=False, timeout=DEADLINE_S)


def _command_line(case: Case, command: str, before: list[subprocess.Popen[bytes]]) -> str:
    if "PROG" in case.words:
        options = "-q -f json " if "EXPECT_JSON" in case.words else ""
        return f"exec {command} {options}-e {shlex.quote(case.first('PROG'))}"
    line = case.first("RUN").replace("{{BPFTRACE}}", command)
    return line.replace("{{BEFORE_PID}}", str(before[0].pid) if before else "")


def _run(
    line: str, case: Case, folder: Path, environment: dict[str, str], children: list[subprocess.Popen[bytes]]
) -> Result:
    log = folder / "output"
    with log.open("wb") as sink:
        traced = subprocess.Popen(
            line, shell=True, cwd=folder, env=environment, stdout=sink, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    children.append(traced)
    limit = float(case.first("TIMEOUT", "5")) + 3
    deadline = time.monotonic() + DEADLINE_S / 2
    attached = False
    while traced.poll() is None and time.monotonic() < deadline:
        if not attached and ATTACHED.encode() in log.read_bytes():
            attached = True
            children += [_start(text, folder) for text in case.words.get("AFTER", [])]
            deadline = min(deadline, time.monotonic() + limit)
        time.sleep(0.01)
    timed_out = traced.poll() is None
    if timed_out:
        os.killpg(traced.pid, signal.SIGTERM)
    try:
        code = traced.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(traced.pid, signal.SIGKILL)
        code = traced.wait()
    return Result(log.read_text(errors="replace"), code, timed_out)


def _start(text: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        f"exec {text}" if not re.search(r"[;&|=]", text) else text, shell=True, cwd=folder, executable="/bin/bash",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def failure(case: Case, result: Result) -> str:
    """Why a case did not pass; "" when it did."""
    output = "\n".join(line for line in result.output.split("\n") if line != ATTACHED)
    for text in case.words.get("EXPECT", []):
        if text.rstrip() not in output and text.strip() not in output:
            return f"not in the output: {text!r}"
    for text in case.words.get("EXPECT_NONE", []):
        if text in output if len(text) > 3 else text in output.split("\n"):
            return f"in the output: {text!r}"
    for text in case.words.get("EXPECT_REGEX", []):
        if not re.search(text, output, re.M):
            return f"nothing matches {text!r}"
    for text in case.words.get("EXPECT_REGEX_NONE", []):
        if re.search(text, output, re.M):
            return f"something matches {text!r}"
    for path in case.words.get("EXPECT_FILE", []):
        wanted = (SUITES / "outputs" / Path(path.strip()).name).read_text()
        if "LOCALIZE_TIMESTAMPS" in case.words:
            wanted = time.strftime(wanted, time.localtime(int(case.first("LOCALIZE_TIMESTAMPS"))))
        if wanted.strip() not in output:
            return f"the content of {path} is not in the output"
    for path in case.words.get("EXPECT_JSON", []):
        reason = _compare_json((SUITES / "outputs" / Path(path.strip()).name).read_text(), output)
        if reason:
            return reason
    if "RETURN_CODE" in case.words and int(case.first("RETURN_CODE")) != result.code:
        return f"exit status {result.code}"
    if "WILL_FAIL" in case.words and result.code == 0 and "|" not in case.first("RUN"):
        return "it was to fail"
    if "WILL_FAIL" not in case.words and "RETURN_CODE" not in case.words and result.code and not result.timed_out:
        return f"exit status {result.code}"
    return ""


def _values(text: str) -> list[object]:
    decoder = json.JSONDecoder()
    found, place = [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        value, place = decoder.raw_decode(text, place)
        found.append(value)
    return found


def _compare_json(wanted: str, output: str) -> str:
    try:
        found = _values(output)
    except json.JSONDecodeError as error:
        return f"no JSON: {error}"
    missing = [one for one in _values(wanted) if one not in found]
    return f"not in the output: {missing[0]}" if missing else ""
