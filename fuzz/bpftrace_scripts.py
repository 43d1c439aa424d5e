"""Damaged scripts of the bpftrace language: each compiles, and the kernel takes it, or is refused with its places.

Seeds are the scripts of ../shared/conformance/bpftrace, the tools in /usr/sbin and examples/trace.  With --load N every
Nth script that compiles is also loaded (never attached).  Prints what was found, grouped; exits with 1 after a finding.

    .venv/bin/python fuzz/bpftrace_scripts.py 50000 --seed 1 --load 4
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "trace"))

import suites  # noqa: E402

from linscope.bpf.kernel.errors import TrampolineRefused, VerifierError  # noqa: E402
from linscope.errors import LinscopeError, SourceError, SystemCallError  # noqa: E402
from linscope.lang import ir  # noqa: E402
from linscope.lang.bpftrace.compiler import compile  # noqa: E402
from linscope.lang.bpftrace.options import Options  # noqa: E402
from linscope.lang.codegen import Built, generate  # noqa: E402

SLOW_S = 2.0  # of CPU time
MOST_MAP_BYTES = 64 << 20  # of scripts that are loaded
# what depends on how the kernel was built or is locked down, and the same script would run elsewhere
_OF_THE_KERNEL = (
    "failed to find the address for kernel symbol", "cannot use helper bpf_probe_write_user", "is locked down",
    "cannot use helper bpf_override_return",
)  # fmt: skip
_TOKEN = re.compile(
    r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/|[@$]?\w+|\s+|'
    r"<<=|>>=|->|\+\+|--|<<|>>|[<>=!+*/%&|^-]=|&&|\|\||\.\.|\?:|.",
    re.S,
)
_NUMBERS = (
    "0 1 -1 2 7 8 63 64 65 127 128 255 256 32767 32768 65535 65536 2147483647 2147483648 4294967295 "
    "4294967296 9223372036854775807 -9223372036854775808 9223372036854775808 18446744073709551615 "
    "18446744073709551616 1e6 1e19 0x7f 0xffffffffffffffff 07 09 1ms 1s 1d 300d 5u 5ul 5ll 1_000 0x 1e "
    "99999999999999999999999"
).split(" ")
_STRINGS = ('""', '"a"', '"%"', '"%d"', '"%s"', '"%r"', '"%c%x"', '"%-5s|%08.3lld"', '"%gr"', '"%hhd"', '"\\x00b"',
            '"\\377"', '"ä€😀"', f'"{"long " * 60}"',
            '"%*d"', '"%5"', '"%q"', '"ip"', '"%H:%M"', '"/proc/%d/x"') # fmt: skip
_TYPES = (
    "int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool string string[5] string[0] buffer[4] int8[3] "
    "uint16[2] int8[0] char int void (int8,string) (uint64,) int64* int8** void* struct\ttask_struct "
    "struct\ttask_struct* struct\tnope enum\tnope typeof($x) typeof(@x) typeof(1) min_t stats_t sum_t "
    "count_t hist_t kstack_t ksym_t inet timestamp"
).split(" ")
_NAMES = (
    "pid tid comm nsecs cpu args curtask kstack ustack func probe probetype retval arg0 arg1 arg9 ctx rand "
    "uid gid cgroup elapsed usermode ncpus username cpid ppid pcomm numaid jiffies true false nope _ $x $y $1 "
    "$2 $# @ @x @y @a $kv.0 $kv.1 $x.0 @x[1] @x[1,2] args.filename args.nope curtask.pid curtask.comm "
    "curtask->mm *curtask &$x &@x"
).split(" ")
_WORDS = "return break continue if else for while unroll let config macro struct import comptime enum fn in".split(" ")
_CALLS = (
    "count sum avg min max stats hist lhist tseries printf print errorf warnf cat join time system exit clear "
    "zero str buf path strlen strcap strcontains strstr strncmp strerror signal_name syscall_name strftime "
    "macaddr ntop pton bswap reg kaddr uaddr kptr uptr container_of offsetof sizeof typeof kstack ustack ksym "
    "usym delete find has_key len cgroup_path cgroupid assert static_assert fail is_array is_err is_integer "
    "is_literal is_ptr is_str getopt override signal nsecs pid tid percpu_kaddr socket_cookie memcmp "
    "str_concat typeinfo unwatch skboutput kfunc_exist nope"
).split(" ")
_SIGNS = (
    "+ - * / % & | ^ << >> == != < <= > >= && || = += -= *= /= %= &= |= ^= <<= >>= ++ -- ! ~ . -> .. ? : ?: , "
    "; ( ) [ ] { } @ $ # / //"
).split(" ")
_OPERATORS = "+ - * / % & | ^ << >> == != < <= > >= && ||".split(" ")
_HEADS = (
    "begin end BEGIN END interval:s:1 profile:hz:99 kprobe:vfs_read kretprobe:vfs_read kprobe:vfs_r* "
    "tracepoint:sched:sched_switch tracepoint:syscalls:sys_enter_openat tracepoint:syscalls:sys_enter_o* "
    "tracepoint:raw_syscalls:sys_enter rawtracepoint:sched_switch software:cpu-clock:1000 "
    "hardware:cache-misses:1000 uprobe:testprogs/uprobe_test:uprobeFunction1 "
    "uretprobe:testprogs/uprobe_test:main iter:task self:signal:SIGUSR1 test:a bench:b fentry:vfs_read "
    "watchpoint:0x1000:4:w kprobe: tracepoint:x :: uprobe:libc:malloc begin,end kprobe:vfs_read,interval:s:1"
).split(" ")
_SHELLS = (
    "if (X) { X; }", "for $i : 0..X { X; }", "for ($kv : @x) { X; }", "while ($x < 5) { X; $x++; }", "unroll(3) { X; }",
    "(X, X)", "(X)", "@x[X] = X", "$x = X", "@x = X", "print(X)", 'printf("%d %s\\n", X, X)', "(a=X, b=X)", "X ? X : X",
    "{ X; X }", "!X", "-X", "*X", "&X", "sizeof(X)", "typeof(X)", "(int32)X", "(string)X", "(uint8[4])X", "X[X]", "X.0",
    "let $x : typeof(X) = X", "if comptime (X) { X; }", "@x[X] = count()", "@x = sum(X)", "@x = hist(X)", "str(X)",
    "X && X", "X == X", "delete(@x, X)", "has_key(@x, X)", "X++", "--X", "return X",
)  # fmt: skip


class Hang(BaseException):
    """A script takes too long."""


def seeds() -> list[str]:
    """Real scripts; those of bpftrace's cases use the programs of tests/trace."""
    found = [case.script for case in suites.iter_cases()] if suites.SUITES.is_dir() else []
    paths = sorted([*Path("/usr/sbin").glob("*.bt"), *(ROOT / "examples" / "trace").glob("*.bt")])
    found += [path.read_text() for path in paths]
    return list(dict.fromkeys(text for text in found if text.strip()))


class Mutator:
    """Scripts made of others."""

    def __init__(self, texts: Sequence[str], seed: int) -> None:
        self.random = Random(seed)
        self.scripts = [_TOKEN.findall(text) for text in texts if len(text) < 6000]

    def script(self) -> str:
        """The next one."""
        tokens = list(self.random.choice(self.scripts))
        wild = self.random.random() < 0.35
        for _ in range(self.random.choice((1, 1, 1, 2, 2, 3, 5, 9) if wild else (1, 1, 2, 3, 4))):
            self._change(tokens, self.random.randrange(17) if wild else self.random.randrange(6, 17))
        text = "".join(tokens)
        return self._damage(text) if self.random.random() < 0.04 else text

    def _place(self, tokens: list[str], pattern: str = r"\S") -> int:
        """A token of a kind; -1: there is none."""
        places = [place for place, token in enumerate(tokens) if re.match(pattern, token)]
        return self.random.choice(places) if places else -1

    def _word(self) -> str:
        """Anything that may be a value."""
        choice = self.random.choice
        kind = self.random.randrange(8)
        if kind < 2:
            return choice(_NUMBERS)
        if kind == 2:
            return choice(_STRINGS)
        if kind == 3:
            return f"({choice(_TYPES)}){choice(_NAMES)}".replace("\t", " ")
        if kind == 4:
            inner = ", ".join(choice((*_NAMES, *_NUMBERS, *_STRINGS)) for _ in range(self.random.randrange(4)))
            return f"{choice(_CALLS)}({inner})"
        return choice(_NAMES)

    def _change(self, tokens: list[str], kind: int) -> None:
        """One change; those from 6 on mostly keep the form."""
        if not tokens:
            tokens.append(self.random.choice(_HEADS) + " { }")
        random, choice = self.random, self.random.choice
        at = max(self._place(tokens), 0)
        if kind == 0:
            del tokens[at : at + choice((1, 1, 1, 2, 3, 8))]
        elif kind == 1:
            end = at + choice((1, 1, 2, 4, 12))
            tokens[at:at] = tokens[at:end]
        elif kind == 2:
            other = max(self._place(tokens), 0)
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif kind == 3:
            donor = choice(self.scripts)
            start = random.randrange(len(donor))
            tokens[at : at + choice((0, 1, 3))] = donor[start : start + choice((1, 3, 8, 20, 60))]
        elif kind == 4:
            self._replace(tokens, r"[^\w\s\"@$]", choice(_SIGNS))
        elif kind == 5:
            tokens[at] = choice((choice(_WORDS), choice(_CALLS), choice(choice(self.scripts))))
        elif kind in (6, 7):
            self._replace(tokens, r"\d", choice((choice(_NUMBERS), self._word())))
        elif kind == 8:
            self._replace(tokens, '"', choice((choice(_STRINGS), choice(_STRINGS), self._word())))
        elif kind == 9:
            known = r"[$]\w*|(pid|tid|cpu|comm|nsecs|args|curtask|arg\d)$"
            self._replace(tokens, known, choice((self._word(), choice(_NAMES))))
        elif kind == 10:
            self._replace(tokens, r"(u?int\d+|string|bool|char|int|struct)$", choice(_TYPES).replace("\t", " "))
        elif kind == 11:
            self._replace(tokens, r"[-+*/%&|^<>]$|[<>=!]=|&&|\|\||<<$|>>$", choice(_OPERATORS))
        elif kind == 12:
            self._replace_call(tokens)
        elif kind == 13:
            place = self._place(tokens, r"[$]?[a-z]\w*$|\"|\d|@\w*$")
            if place >= 0:
                tokens[place] = self._nested(tokens[place])
        elif kind == 14:
            place = self._place(tokens, r"[;{]")
            if place >= 0:
                tokens.insert(place + 1, f" {self._nested(self._word())}; ")
        elif kind == 15:
            self._replace(tokens, r"(begin|BEGIN|kprobe|tracepoint|interval|i|k|t)$", choice(_HEADS))
        else:
            donor = "".join(choice(self.scripts)) if random.random() < 0.5 else (
                f"{choice(_HEADS)} {{ {self._nested(self._word())}; {self._nested(self._word())} }}"
            )  # fmt: skip
            tokens.append(f"\n{donor}")

    def _replace_call(self, tokens: list[str]) -> None:
        """Another function, or other arguments."""
        pairs = enumerate(pairwise(tokens))
        places = [at for at, (one, more) in pairs if more == "(" and one.isidentifier()]
        if not places:
            return
        at = self.random.choice(places)
        if self.random.random() < 0.5:
            tokens[at] = self.random.choice(_CALLS)
        else:
            tokens[at + 1] = f"({self._word()}" + self.random.choice((", ", ", ", ""))

    def _replace(self, tokens: list[str], pattern: str, new: str) -> None:
        place = self._place(tokens, pattern)
        if place >= 0:
            tokens[place] = new

    def _nested(self, inner: str) -> str:
        """A value in others, some levels deep; now and then in very many."""
        random = self.random
        for _ in range(random.choice((1, 1, 2, 3, 6))):
            shell = random.choice(_SHELLS)
            shell = shell.replace("X", "\0", 1)
            while "X" in shell:
                shell = shell.replace("X", self._word().replace("X", "x"), 1)
            inner = shell.replace("\0", inner)
        if random.random() < 0.03:
            count = random.choice((50, 400, 3000))
            opening, closing = random.choice((
                ("(", ")"), ("{", "}"), ("-", ""), ("!", ""), ("(int8)", ""), ("1 + ", ""), ("if 1 {", "}"),
                ("", "[0]"),
                ("", ".0"), ("1 ? 1 : ", ""), ("if 1 { 1 } else ", " { }"), ("sizeof(", ")"), ("(1,", ")"), ("*", ""),
                ("@x[", "]"), ("str(", ")"), ("while (", ") { }"), ("for $i : 0..2 {", "}"), ("typeof(", ")"),
                ("(typeof(", "))1"), ("let $x : (", ",int8) = 1"), ("1 == ", ""), ("pid && ", ""), ("@x = ", ""),
                ("", "++"),
                ("print(1); ", ""), ("comptime ", ""), ("", " *"), ("(int8", "*)1"),
            ))  # fmt: skip
            inner = opening * count + inner + closing * count
        return inner

    def _damage(self, text: str) -> str:
        random = self.random
        if random.random() < 0.4:
            return text[: random.randrange(len(text) + 1)]
        letters = list(text)
        for _ in range(random.choice((1, 2, 6))):
            letters.insert(
                random.randrange(len(letters) + 1),
                random.choice(("\0", "\x7f", "\xa0", "é", "²", "٣", "\U0001f600", "\udc80", "\n", "\r", "\\", '"', "'",
                               "`", "\u2028", "#", "/*", "*/", "//", "\t", "\ufeff", chr(random.randrange(256)))),
            )  # fmt: skip
        return "".join(letters)


def _hang(signum: int, frame: object) -> None:
    raise Hang


def check(text: str) -> tuple[str, ir.Unit | None, Built | None]:
    """(what is wrong with us, the unit, its programs); None, None: the script is refused as it should be."""
    signal.signal(signal.SIGVTALRM, _hang)
    signal.setitimer(signal.ITIMER_VIRTUAL, SLOW_S)
    try:
        unit = compile(text, options=Options(unsafe=True, child=1, parameters=["7", "word", "--name=value"]))
        return "", unit, generate(unit)
    except SourceError as refused:
        return _look(refused, text), None, None
    except Hang:
        return "hang " + _place_of(sys.exc_info()[2]), None, None
    except Exception as crash:  # noqa: BLE001 - whatever is raised is what is looked for
        return f"{type(crash).__name__}: {str(crash)[:120]} {_place_of(crash.__traceback__)}", None, None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _place_of(trace: object) -> str:
    frames = [one for one in traceback.extract_tb(trace) if "linscope" in one.filename]  # type: ignore[arg-type]
    return f"at {Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name}" if frames else ""


def _look(refused: SourceError, text: str) -> str:
    """What is wrong with an error."""
    lines = text.split("\n")
    if not refused.diagnostics:
        return "an error without a diagnostic"
    for one in refused.diagnostics:
        if not one.what.strip():
            return "an error without a text"
        if not 1 <= one.line <= len(lines):
            return f"a line outside of the script: {re.sub('[0-9]+', 'N', one.what)}"
        if not 1 <= one.column <= len(lines[one.line - 1]) + 1:
            return f"a column outside of the line: {re.sub('[0-9]+', 'N', one.what)}"
    str(refused)
    return ""


def load_all(unit: ir.Unit, built: Built) -> str:
    """Why the kernel refuses one of the programs; "" when it does not, "-" when they are not loaded."""
    from contextlib import ExitStack

    from linscope.bpf.kernel.maps import KernelMap
    from linscope.bpf.kernel.programs import load

    cpus = os.cpu_count() or 1
    sizes = [(one.key_size + one.value_size * cpus + 64) * one.max_entries for one in built.maps if one.key_size]
    if sum(sizes) > MOST_MAP_BYTES:
        return "-"
    with ExitStack() as stack:
        try:
            maps = [stack.enter_context(KernelMap.create(one)) for one in built.maps]
        except SystemCallError as refused:
            return re.sub(r"\d+", "N", str(refused).split("\n")[0])
        for program in built.programs:
            program.lines = []
            try:
                stack.enter_context(load(program, maps))
            except TrampolineRefused:
                continue
            except VerifierError as refused:
                if any(one in refused.log for one in _OF_THE_KERNEL):
                    continue
                log = [line for line in refused.log.strip().split("\n") if line and not line.startswith("processed ")]
                return "verifier: " + re.sub(r"\d+", "N", log[-1] if log else str(refused))
            except (LinscopeError, struct.error) as refused:
                return "load: " + re.sub(r"\d+", "N", str(refused).split("\n")[0])
    return ""


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("count", type=int, nargs="?", default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", type=int, default=0, help="load every Nth script that compiles (root)")
    arguments = parser.parse_args()
    texts = seeds()
    with tempfile.TemporaryDirectory() as folder:
        suites.build_programs(Path(folder))
        os.chdir(folder)
        return run(Mutator(texts, arguments.seed), arguments.count, arguments.load)


def run(mutator: Mutator, count: int, every: int) -> int:
    """Check so many scripts."""
    findings: dict[str, tuple[int, str]] = {}
    counts: Counter[str] = Counter()
    slowest = 0.0
    began = time.monotonic()
    for _ in range(count):
        text = mutator.script()
        start = time.process_time()
        wrong, unit, built = check(text)
        slowest = max(slowest, time.process_time() - start)
        if unit is not None and built is not None:
            counts["compiled"] += 1
            if every and not counts["compiled"] % every:
                wrong = load_all(unit, built)
                counts["not loaded (large maps)" if wrong == "-" else "loaded"] += 1
                wrong = "" if wrong == "-" else wrong
        else:
            counts["refused"] += not wrong
        if wrong:
            number, shortest = findings.get(wrong, (0, text))
            findings[wrong] = number + 1, min(shortest, text, key=len)
    print(f"{count} scripts in {time.monotonic() - began:.0f} s: {dict(counts)}; slowest {slowest:.2f} s of CPU")
    for wrong, (number, text) in sorted(findings.items(), key=lambda one: -one[1][0]):
        print(f"\n{number} x {wrong}\n    {text[:700]!r}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
