"""`linscope trace`: scripts of the bpftrace language, in the running kernel or over a recording."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    import argparse

    from linscope.session.script.main import Watcher

# option -> (name, whether a value follows)
_OPTIONS = {
    "-e": ("program", True), "-c": ("cmd", True), "--cmd": ("cmd", True), "-p": ("pid", True), "--pid": ("pid", True),
    "-o": ("output", True), "-f": ("form", True), "-B": ("buffering", True), "-q": ("quiet", False),
    "--quiet": ("quiet", False), "-k": ("helper_errors", False), "-l": ("list", False), "--list": ("list", False),
    "-v": ("verbose", False), "--verbose": ("verbose", False), "-d": ("stage", True), "-I": ("include_dir", True),
    "--include": ("include", True), "--unsafe": ("unsafe", False), "--dry-run": ("dry_run", False),
    "--no-warnings": ("no_warnings", False), "--replay": ("replay", True), "--mode": ("mode", True),
    "--test": ("test", False), "--bench": ("bench", False), "--info": ("info", False), "-V": ("version", False),
    "--version": ("version", False), "-h": ("help", False), "--help": ("help", False),
    "--no-feature": ("no_feature", True), "--record-for": ("record_for", True), "--flame": ("flame", True),
    "--heat": ("heat", True), "--heat-interval": ("heat_interval", True),
    "--usdt-file-activation": ("usdt_file_activation", False),
}  # fmt: skip
_LISTS = ("include_dir", "include")
STAGES = ("ast", "ir", "asm", "verifier")
_USAGE = """USAGE: linscope trace [OPTIONS] FILE [ARGS]
       linscope trace [OPTIONS] -e 'PROGRAM' [ARGS]
"""
_HELP = """
Run scripts of the bpftrace language in the running kernel.

  FILE                   a script; - for standard input
  ARGS                   $1, $2 ...; --name=value for getopt("name")
  -e PROGRAM             the script itself
  -l [PATTERN]           list probes (-lv with arguments), or those of a script
  -c, --cmd CMD          run a command, and end when it ends
  -p, --pid PID          trace this process only, and end when it ends
  -o FILE                write the output to a file; of parquet: a folder
  -f FORM                text (default), json or parquet
  -B MODE                output buffering: line, full or none
  -q, --quiet            nothing but the script's own output
  -k                     tell when reads of memory fail
  -d STAGE               show ast, ir, asm or verifier, and stop
  -I DIR                 a folder of headers and imports
  --include FILE         a header to include
  --flame OUT            draw maps with stacks in their key: .html, .svg, .txt
  --heat OUT             draw hist() and lhist() over time: .html, .svg, .txt
  --heat-interval T      the time between two looks at them (1s)
  --replay FILE          run over a recording: perf.data, trace.dat, Parquet
  --record-for FILE      run this script live, and record what its replay needs
                         to -o FILE (trace.data); ARGS are the command
  --unsafe               allow system(), signal(), override(), write_user()
  --dry-run              compile and load, and stop
  --no-warnings          no warnings
  --mode MODE            test or bench: run the probes of that kind
  --info                 what this kernel has
  -v, --verbose          more
  -V, --version          the version

examples:
"""


class Arguments:
    """The words of a command line."""

    def __init__(self) -> None:
        self.program: str | None = None
        self.cmd = self.pid = self.output = self.stage = self.replay = self.mode = ""
        self.form, self.buffering = "text", "line"
        self.quiet = self.helper_errors = self.list = self.verbose = self.unsafe = self.dry_run = False
        self.no_warnings = self.info = self.version = self.help = self.test = self.bench = False
        self.include_dir: list[str] = []
        self.include: list[str] = []
        self.usdt_file_activation = False  # semaphores are those of files anyway
        self.no_feature = self.record_for = self.flame = self.heat = self.heat_interval = ""
        self.watcher: Watcher | None = None
        self.words: list[str] = []
        self.wrong = ""

    def __contains__(self, name: str) -> bool:
        return False  # rows have no format here: the script makes the output


def scan(words: list[str]) -> Arguments:
    """The command line, without argparse: starting is to be quick."""
    found = Arguments()
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word.startswith("-") or word == "-":
            found.words.append(word)
            continue
        if word == "--":
            found.words += words[at:]
            break
        name, equal, value = word.partition("=")
        if name not in _OPTIONS and word[:2] in _OPTIONS and not word.startswith("--"):
            name, rest = word[:2], word[2:]
            if _OPTIONS[name][1]:
                equal, value = "=", rest
            else:
                words = [*words[:at], f"-{rest}", *words[at:]]
                equal = ""
        if name not in _OPTIONS:
            if word.startswith("--") and (found.words or found.program is not None):
                found.words.append(word)  # a named parameter of the script
                continue
            found.wrong = f"{words[at - 1]!r}: no such option"
            break
        target, takes = _OPTIONS[name]
        if takes and not equal:
            if at >= len(words):
                found.wrong = f"{name} needs a value"
                break
            value, at = words[at], at + 1
        if target in _LISTS:
            getattr(found, target).append(value)
        else:
            setattr(found, target, value if takes else True)
    if found.stage and found.stage not in STAGES:
        found.wrong = f"-d {found.stage}: no such stage; there are {', '.join(STAGES)}"
    return found


class Trace:
    """The subcommand; see linscope.contracts.Command."""

    summary = "scripts of the bpftrace language, live or over a recording"
    splits = False
    examples = (
        "linscope trace -e 'tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }'",
        "linscope trace examples/trace/syscall_latency.bt -c 'find /usr -name nothing'",
        "linscope trace -l 'tracepoint:sched:*'",
    )
    formats = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments: they are read by ``scan``."""
        parser.add_argument("words", nargs="*", metavar="FILE", help="a script, then its arguments; -e PROGRAM instead")

    def scan(self, words: list[str]) -> Arguments:
        """The command line as it stands."""
        return scan(words)

    def run(self, arguments: Arguments) -> int:
        """Do it; returns the exit code."""
        from linscope.session.script.output import error

        if arguments.help or arguments.wrong:
            if arguments.wrong:
                error(f"ERROR: {arguments.wrong}")
            text = _USAGE + _HELP + "".join(f"  {one}\n" for one in self.examples)
            (sys.stderr if arguments.wrong else sys.stdout).write(text)
            return 1 if arguments.wrong else 0
        if arguments.version:
            from linscope.version import VERSION

            print(f"bpftrace v0.26 as linscope {VERSION} speaks it")
            return 0
        from linscope.session.script.main import main

        if arguments.flame or arguments.heat or arguments.heat_interval:
            from linscope.commands._trace_pictures import watch

            problem = watch(arguments)
            if problem:
                error(f"ERROR: {problem}")
                return 1
        return main(arguments)


TRACE = Trace()
