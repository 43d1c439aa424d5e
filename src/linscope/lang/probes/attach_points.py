"""An attach point as a script writes it: ``kprobe:vfs_read``, ``u:libc:malloc``, ``interval:1s`` ...

Parts stand between colons; a part in quotes may have colons itself.
Source: docs/language.md of bpftrace 0.26, "Probes".
"""

from __future__ import annotations

from linscope.lang.nodes import Node
from linscope.lang.probes.kinds import KERNEL_LIST, SPELLINGS, USER_LIST
from linscope.lang.probes.problems import probe_error
from linscope.lang.probes.wildcards import has_wildcard, matches

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TIMES = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_U64 = 1 << 64
LANGUAGES = ("cpp",)


class AttachPoint(Node):
    """An attach point whose parts have been told apart; wildcards are still in it.

    Which fields count depends on ``kind``, as in probe.Probe.  alternatives: the points that it stands for when its
    kind has a wildcard ("*probe:vfs_read"), and then nothing else counts.
    """

    text: str  # as written
    kind: str  # a name of kinds.ALIASES; "" with alternatives
    target: str = ""  # file, module, subsystem, unit of time, event
    function: str = ""  # function, tracepoint, iterator, signal
    language: str = ""  # of the function's name: "cpp"
    provider: str = ""  # of a USDT probe
    offset: int = 0  # from the function's start, bytes
    address: int = 0  # instead of a function
    line: str = ""  # file:line[:column] of source, instead of a function
    count: int = 0  # rate, count of events
    length: int = 0  # of a watchpoint, bytes
    mode: str = ""
    pin: str = ""
    program_id: int = 0  # of an eBPF program; 0: any
    given_name: str = ""  # what the script calls it: name=kprobe:...
    alternatives: tuple[AttachPoint, ...] = ()

    @property
    def name(self) -> str:
        """In full, as ``probe`` prints it and -l lists it."""
        if self.given_name:
            return self.given_name
        parts = [self.kind, self.target, self.language, self.provider]
        if self.program_id:
            parts.append(str(self.program_id))
        if self.function:
            parts.append(f"{self.function}+{self.offset}" if self.offset else self.function)
        parts += [str(number) for number in (self.address, self.count, self.length) if number]
        return ":".join(part for part in (*parts, self.mode) if part)

    @property
    def has_wildcard(self) -> bool:
        """Whether what it is attached to has wildcards."""
        return has_wildcard(self.target) or has_wildcard(self.function) or has_wildcard(self.provider)

    def with_(self, **fields: object) -> AttachPoint:
        """A copy with other fields."""
        made = AttachPoint()  # type: ignore[call-arg]  # all fields are set below
        made.__dict__.update(self.__dict__, **fields)
        return made


def parse_attach_point(text: str, *, pid: int | None = None, parameters: Sequence[str] = ()) -> AttachPoint:
    """The attach point that a text stands for; nothing is looked up.

    pid: of the process that is traced: its program need not be named.  parameters: what $1, $2 ... stand for.
    Raises SourceError.
    """
    parts = _split(text, parameters)
    given_name, equals, kind = parts[0].rpartition("=")
    if not equals or not given_name:
        given_name, kind = "", parts[0]
    if has_wildcard(kind):
        return _alternatives(text, kind, parts, pid)
    if kind not in SPELLINGS:
        raise probe_error(text, f"Invalid probe type: {kind}", _near_kind(kind))
    point = AttachPoint(text, SPELLINGS[kind], given_name=given_name)
    _fill(point, parts, pid)
    return point


def _near_kind(kind: str) -> str:
    import difflib

    if kind in ("asyncwatchpoint", "aw"):
        return "bpftrace has dropped it; watchpoint:address:length:mode takes its place"
    found = difflib.get_close_matches(kind, SPELLINGS, 1)
    return f"did you mean {found[0]}?" if found else ""


def _fill(point: AttachPoint, parts: list[str], pid: int | None, *, is_one_of_many: bool = False) -> None:
    _READERS[point.kind](_Reader(point, parts, pid, is_one_of_many))


def _alternatives(text: str, kind: str, parts: list[str], pid: int | None) -> AttachPoint:
    """One point for each kind that matches and can have so many parts."""
    kinds = USER_LIST if pid is not None or (len(parts) > 1 and "/" in parts[1]) else KERNEL_LIST
    pattern = kind if len(parts) > 1 else "*"
    rest = parts[1:] if len(parts) > 1 else parts
    found = []
    for one in sorted(kinds):
        if not matches(pattern, one):
            continue
        point = AttachPoint(text, one)
        try:
            _fill(point, [one, *rest], pid, is_one_of_many=True)
        except _WrongCount:
            continue
        found.append(point)
    if not found:
        raise probe_error(text, f"No probe type matched for {kind}")
    return AttachPoint(text, "", alternatives=tuple(found))


def _split(text: str, parameters: Sequence[str]) -> list[str]:
    """The parts between colons, without quotes, with parameters put in."""
    parts, part, at, quoted = [], "", 0, False
    while at < len(text):
        letter = text[at]
        at += 1
        if letter == '"':
            quoted = not quoted
        elif letter == ":" and not quoted:
            parts.append(part)
            part = ""
        elif letter == "\\" and quoted and at < len(text):
            part += text[at]
            at += 1
        elif letter == "$" and not quoted:
            end = at
            while end < len(text) and text[end].isdigit():
                end += 1
            digits = text[at:end]
            if not digits or digits[0] == "0":
                shown = text[at : at + 1]
                raise probe_error(
                    text, f"invalid trailing character for positional param: {shown}",
                    f'to write a dollar sign, put this part in quotes: "${shown}"',
                )  # fmt: skip
            place = int(digits) - 1
            text = text[: at - 1] + (parameters[place] if place < len(parameters) else "0") + text[end:]
            at -= 1
        else:
            part += letter
    return [*parts, part]


def parse_number(text: str) -> int | None:
    """A number as bpftrace takes it: 12, 0x1f, 1_000, 5e3, and times in nanoseconds: 10ms; None: it is none.

    >>> parse_number("1s"), parse_number("0x10"), parse_number("5e3"), parse_number("ten")
    (1000000000, 16, 5000, None)
    """
    text = text.replace("_", "")
    if text[:2] in ("0x", "0X", "0b", "0B"):
        base = 16 if text[1] in "xX" else 2
        digits = text[2:]
        return int(digits, base) if digits and all(c in "0123456789abcdefABCDEF"[:22] for c in digits) else None
    at = 0
    while at < len(text) and text[at].isdigit():
        at += 1
    if not at:
        return None
    base = 8 if at > 1 and text[0] == "0" else 10
    try:
        value = int(text[:at], base)
    except ValueError:
        return None
    suffix = text[at:]
    if suffix[:1] in ("e", "E") and suffix[1:2].isdigit():
        end = 1
        while suffix[end : end + 1].isdigit():
            end += 1
        value *= 10 ** min(int(suffix[1:end]), 30)
        suffix = suffix[end:]
    if suffix.lower() in ("u", "l", "ul", "ll", "ull"):
        suffix = ""
    if suffix and suffix not in _TIMES:
        return None
    value *= _TIMES.get(suffix, 1)
    return value if value < _U64 else None


class _WrongCount(Exception):
    """The parts are too many or too few for a kind."""


class _Reader:
    """The parts of one attach point while they are read."""

    def __init__(self, point: AttachPoint, parts: list[str], pid: int | None, is_one_of_many: bool) -> None:
        """is_one_of_many: a wildcard stands for several kinds, of which this is one."""
        self.point = point
        self.is_one_of_many = is_one_of_many
        self.parts = parts
        self.pid = pid

    def error(self, what: str, hint: str = "") -> Exception:
        return probe_error(self.point.text, what, hint)

    def take(self, *counts: int) -> None:
        """Check the number of parts behind the kind."""
        found = len(self.parts) - 1
        if found in counts:
            return
        if self.is_one_of_many:
            raise _WrongCount
        wanted = " or ".join(map(str, counts)) if len(counts) < 3 else f"{counts[0]} to {counts[-1]}"
        raise self.error(f"{self.point.kind} probe type requires {wanted} arguments, found {found}", self.form())

    def form(self) -> str:
        """How the kind is written."""
        return _FORMS.get(self.point.kind, "")

    def set(self, **fields: object) -> None:
        self.point.__dict__.update(fields)

    def number(self, text: str, what: str, hint: str = "") -> int:
        value = parse_number(text)
        if value is None:
            wrong = "invalid trailing bytes" if text[:1].isdigit() else "invalid integer"
            raise self.error(f"{what}: {wrong}: {text}", hint)
        return value

    def function(self, text: str, *, allow_offset: bool, allow_address: bool = False) -> None:
        """A function with its offset, or an address."""
        name, plus, offset = text.partition("+")
        if plus and not text.startswith("operator", text.rfind(":") + 1) and "(" not in text:
            if not allow_offset:
                raise self.error("Offset not allowed", f"a {self.point.kind} is at a function's return")
            if "+" in offset:
                raise self.error("Cannot take more than one offset")
            self.set(function=name, offset=self.number(offset, "Invalid offset"))
            return
        value = parse_number(text) if allow_address else None
        if value is not None:
            self.set(address=value)
        else:
            self.set(function=text)


_FORMS = {
    "begin": "begin { ... }", "end": "end { ... }", "self": "self:signal:SIGUSR1",
    "hardware": "hardware:cache-misses:1000000", "software": "software:page-faults:100",
    "interval": "interval:s:1, interval:1s, interval:hz:10", "profile": "profile:hz:99, profile:10ms",
    "iter": "iter:task, iter:task_file:pin", "fentry": "fentry:vfs_read, fentry:module:function",
    "fexit": "fexit:vfs_read, fexit:module:function", "kprobe": "kprobe:vfs_read, kprobe:module:function+offset",
    "kretprobe": "kretprobe:vfs_read, kretprobe:module:function", "rawtracepoint": "rawtracepoint:sched_switch",
    "tracepoint": "tracepoint:sched:sched_switch", "uprobe": "uprobe:/bin/bash:readline, uprobe:libc:malloc",
    "uretprobe": "uretprobe:/bin/bash:readline", "usdt": "usdt:/path/of/file:provider:probe",
    "watchpoint": "watchpoint:0x10000000:8:rw",
}  # fmt: skip


def _special(reader: _Reader) -> None:
    if reader.parts[1:] == ["*"]:
        reader.parts.pop()
    reader.take(0)


def _self(reader: _Reader) -> None:
    reader.take(2)
    trigger, name = reader.parts[1:]
    if trigger != "signal":
        raise reader.error(f"{trigger} is not a supported trigger", reader.form())
    if name not in ("SIGUSR1", "SIGUSR2"):
        raise reader.error(f"{name} is not a supported signal", "SIGUSR1 or SIGUSR2")
    reader.set(target=trigger, function=name)


def _named(reader: _Reader) -> None:
    reader.take(1)
    reader.set(target=reader.parts[1])


def _counted(reader: _Reader) -> None:
    reader.take(1, 2)
    reader.set(target=reader.parts[1])
    if len(reader.parts) == 3 and reader.parts[2] != "*":
        reader.set(count=reader.number(reader.parts[2], f"Invalid count for {reader.point.kind} probe"))


_RATES = "interval:1s, interval:ms:100, profile:hz:99"


def _timed(reader: _Reader) -> None:
    reader.take(1, 2)
    kind, unit = reader.point.kind, reader.parts[1]
    wrong = f"Invalid rate of {kind} probe"
    if len(reader.parts) == 3:
        reader.set(target=unit, count=0 if has_wildcard(unit) else reader.number(reader.parts[2], wrong, _RATES))
    elif has_wildcard(unit):
        reader.set(target=unit)
    else:
        time_ns = reader.number(unit, wrong, _RATES)
        if time_ns < 1000:
            raise reader.error(f"{wrong}. Minimum is 1000 or 1us. Found: {time_ns} nanoseconds", _RATES)
        reader.set(target="us", count=time_ns // 1000)


def _iter(reader: _Reader) -> None:
    reader.take(1, 2)
    reader.set(function=reader.parts[1], pin=reader.parts[2] if len(reader.parts) == 3 else "")


def _fentry(reader: _Reader) -> None:
    reader.take(1, 2, 3)
    parts = reader.parts
    if parts[1] == "bpf" and len(parts) > 2:
        reader.set(target="bpf", function=parts[-1])
        if len(parts) == 4 and parts[2] != "*":
            number = parse_number(parts[2])
            if number is None:
                raise reader.error("bpf program id must be a number or '*'")
            reader.set(program_id=number)
    elif len(parts) == 4:
        raise reader.error("Only the 'bpf' variant of this probe supports 4 arguments")
    elif parts[1] == "bpf":
        raise reader.error(
            "the 'bpf' variant of this probe requires a bpf program name and optional bpf program id",
            f"{reader.point.kind}:bpf:program",
        )
    else:
        reader.set(target=parts[1] if len(parts) == 3 else "", function=parts[-1])
    if not reader.point.function:
        raise reader.error("fentry/fexit should specify a function", reader.form())


def _kprobe(reader: _Reader) -> None:
    reader.take(1, 2)
    if len(reader.parts) == 3:
        reader.set(target=reader.parts[1])
    reader.function(reader.parts[-1], allow_offset=reader.point.kind == "kprobe", allow_address=len(reader.parts) == 2)
    if not reader.point.function and not reader.point.address:
        raise reader.error("kprobes should be attached to a function", reader.form())


def _rawtracepoint(reader: _Reader) -> None:
    reader.take(1, 2)
    reader.set(target=reader.parts[1] if len(reader.parts) == 3 else "*", function=reader.parts[-1])
    if not reader.point.function:
        raise reader.error("rawtracepoint should be attached to a function", reader.form())


def _tracepoint(reader: _Reader) -> None:
    if len(reader.parts) == 2 and has_wildcard(reader.parts[1]):
        reader.parts.insert(1, "*")  # of any subsystem
    reader.take(2)
    reader.set(target=reader.parts[1], function=reader.parts[2])
    if not reader.point.target or not reader.point.function:
        raise reader.error("tracepoint probe must have a target", reader.form())


def _uprobe(reader: _Reader) -> None:
    parts = reader.parts
    if len(parts) in (3, 4) and "@" in parts[1] and parse_number(parts[2]) is not None:
        path, _, source = parts[1].partition("@")
        reader.set(target=path, line=":".join([source, *parts[2:]]))
        return
    behind = 3 if len(parts) > 3 and parts[2] in LANGUAGES else 2
    if "" in parts[behind:-1]:  # A::b without quotes
        parts[behind:] = [":".join(parts[behind:])]
    if reader.pid is not None and (len(parts) == 2 or (len(parts) == 3 and parts[1] in LANGUAGES)):
        parts.insert(1, f"/proc/{reader.pid}/exe")
    reader.take(2, 3)
    kind = reader.point.kind
    if len(parts) == 4:
        if parts[2] not in LANGUAGES:
            raise reader.error(f"unsupported language type: {parts[2]}", f'{kind}:/path/of/file:cpp:"A::b"')
        reader.set(language=parts[2])
    if not parts[1]:
        raise reader.error(f"{kind} should have a target", reader.form())
    reader.set(target=parts[1])
    is_probe = kind == "uprobe"
    reader.function(parts[-1], allow_offset=is_probe, allow_address=is_probe)
    if not reader.point.function and not reader.point.address:
        raise reader.error(f"{kind} should be attached to a function and/or address", reader.form())
    if reader.point.address and has_wildcard(reader.point.target):
        raise reader.error("Cannot use wildcards with absolute address")


def _usdt(reader: _Reader) -> None:
    parts = reader.parts
    if reader.pid is not None and len(parts) == 2:
        parts.insert(1, "")
    reader.take(2, 3)
    reader.set(target=parts[1], provider=parts[2] if len(parts) == 4 else "", function=parts[-1])
    if not parts[-1]:
        raise reader.error("usdt probe must have a target function or wildcard", reader.form())
    if not parts[1] and reader.pid is None:
        raise reader.error(
            "usdt probe must specify at least path or pid to probe. To target all paths/pids set the path to '*'."
        )


def _watchpoint(reader: _Reader) -> None:
    reader.take(3)
    address = reader.number(reader.parts[1], "Invalid function/address argument")
    length = reader.number(reader.parts[2], "Invalid length argument")
    mode = "".join(sorted(reader.parts[3]))
    if not address:
        raise reader.error("watchpoint must be attached to a non-zero address")
    if length not in (1, 2, 4, 8):
        raise reader.error("watchpoint length must be one of (1,2,4,8)")
    if not mode or mode.strip("rwx"):
        raise reader.error("watchpoint mode must be combination of (r,w,x)")
    if len(set(mode)) != len(mode):
        raise reader.error("watchpoint modes may not be duplicated")
    reader.set(address=address, length=length, mode=mode)


_READERS: dict[str, Callable[[_Reader], None]] = {
    "begin": _special, "end": _special, "self": _self, "test": _named, "bench": _named, "hardware": _counted,
    "software": _counted, "interval": _timed, "profile": _timed, "iter": _iter, "fentry": _fentry, "fexit": _fentry,
    "kprobe": _kprobe, "kretprobe": _kprobe, "rawtracepoint": _rawtracepoint, "tracepoint": _tracepoint,
    "uprobe": _uprobe, "uretprobe": _uprobe, "usdt": _usdt, "watchpoint": _watchpoint,
}  # fmt: skip
