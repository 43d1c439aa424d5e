"""What a script costs at probes that are hit all the time: an estimate, said before they are attached.

    linscope: tracepoint:sched:sched_switch fires about 120,000 times a second here: about 4 % of a CPU

How often: what the kernel counts anyway (context switches, interrupts, page faults, packets), since it was booted and
while the script was loaded, whichever is more.  System calls and allocations nobody counts: they are bounded by the
time that CPUs spend in the kernel at this load.  How long: a program's base and what it calls.  The costs were measured
on Linux 6.18 (x86-64, 3 GHz) with a loop of getppid(): a raw tracepoint 0.08 µs, a stack 0.8 to 1.7 µs, printf 0.15 µs.
"""

from __future__ import annotations

import time

from linscope.session.script.attaching import HOT_FUNCTIONS, MANY, is_hot

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.bpf.program import Program
    from linscope.lang import ir
    from linscope.lang.built import Built
    from linscope.lang.probe import Probe

LEAST = 0.01  # CPUs that are worth a line
_LEAST_BOUND = 0.1  # when the rate is but a bound
_MOST_LINES = 4
_LEAST_COUNT, _LEAST_S = 50, 0.002  # of a measurement while the script is loaded
_CALL, _CALL_CODE = 0x85, 7  # BPF_JMP | BPF_CALL; the mask of an instruction's class
_BASE_US = {
    "rawtracepoint": 0.08, "tracepoint": 0.12, "kprobe": 0.2, "kretprobe": 0.4, "fentry": 0.05, "fexit": 0.1,
    "profile": 1.0, "software": 0.5, "hardware": 1.0,
}  # fmt: skip
# by the number of the helper (include/uapi/linux/bpf.h, enum bpf_func_id)
_STACKS, _OUTPUTS, _READS, _MAPS = (27, 67), (25, 130, 131, 132), (4, 45, 112, 113, 114, 115), (1, 2, 3, 51, 195)
_HELPER_US = ((_STACKS, 1.2), (_OUTPUTS, 0.15), (_READS, 0.05), (_MAPS, 0.03))
_OTHER_US, _INSTRUCTION_US = 0.02, 0.0005
_UPROBE_US = "1 to 10 µs"  # a trap: bare metal, and virtual machines
_SYSTEM_CALL_S = 2e-6  # of kernel time, of short ones; what allocates and locks is as often
_ALMOST_ALL = 100  # system calls of one program: most that are made are among them
_TICKS = 100  # USER_HZ

# what counts an event: its name, or that of its subsystem; functions of the kernel are in attaching.HOT_FUNCTIONS
SWITCHES, INTERRUPTS, SOFTIRQS, FAULTS, PAGES, PACKETS, KERNEL_TIME = (
    "ctxt", "intr", "softirq", "pgfault", "pgalloc", "packets", "kernel time",
)  # fmt: skip
_COUNTED = {
    "sched": SWITCHES, "irq": INTERRUPTS, "irq_vectors": INTERRUPTS, "softirq": SOFTIRQS, "timer": INTERRUPTS,
    "exceptions": FAULTS, "page_fault": FAULTS, "mm_page": PAGES, "net": PACKETS, "skb": PACKETS, "napi": PACKETS,
    "netif": PACKETS,
}  # fmt: skip


class Meter:
    """Counts events from now on."""

    def __init__(self, unit: ir.Unit, proc: str = "/proc") -> None:
        """proc: where the kernel's counts are."""
        self.unit = unit
        self.proc = proc
        self.started = time.monotonic()
        self.seconds = 0.0
        self.before = self.after = self._counts()

    def lines(self, built: Built) -> list[str]:
        """What is to be said; nothing when all is cheap."""
        self.seconds, self.after = time.monotonic() - self.started, self._counts()
        found: list[str] = []
        for source, program in zip(self.unit.programs, built.programs, strict=True):
            found += self._of_program(source, cost_us(source, program))
        return list(dict.fromkeys(found))[:_MOST_LINES]

    def _of_program(self, source: ir.Program, each_us: float) -> Iterator[str]:
        probes = source.probes
        if source.dispatch is not None:
            yield from self._of_probe(self._name(source), probes[0], each_us)
        elif len(probes) <= MANY:
            hot = [probe for probe in probes if is_hot(probe)]
            if hot and hot[0].is_in_user_space:
                calls = "each call" if len(hot) == len(probes) else f"each call of {_names(hot)}"
                yield f"{self._name(source)}: {calls} takes {_UPROBE_US} longer, of maybe a million a second"
                return
            for probe in hot:
                yield from self._of_probe(probe.name, probe, each_us)
        elif probes[0].kind != "tracepoint":
            longer = _UPROBE_US if probes[0].is_in_user_space else f"about {each_us:.1f} µs"
            yield f"{self._name(source)} is put on {len(probes):,} functions: each of their calls takes {longer} longer"

    def _of_probe(self, name: str, probe: Probe, each_us: float) -> Iterator[str]:
        counted = _counted_by(probe)
        rate = self.after["cpus"] * 1e9 / max(probe.count, 1) if probe.kind == "profile" else self._rate(counted)
        cpus = rate * each_us / 1e6
        if counted == KERNEL_TIME and probe.kind != "profile":
            if cpus >= _LEAST_BOUND:
                yield f"{name} fires up to {_rounded(rate)} times a second at this load: up to {_share(cpus)}"
        elif cpus >= LEAST:
            yield f"{name} fires about {_rounded(rate)} times a second here: about {_share(cpus)}"

    def _name(self, source: ir.Program) -> str:
        """As the script has it."""
        start, end = source.probes[0].span
        return self.unit.text[start:end] or source.probes[0].name

    def _rate(self, name: str) -> float:
        """Times a second: since the kernel was booted, or since this was made."""
        if name == KERNEL_TIME:
            return self._busy_in_kernel(self.after) / _SYSTEM_CALL_S
        whole = self.after.get(name, 0)
        count = whole - self.before.get(name, 0)
        now = count / self.seconds if self.seconds >= _LEAST_S and count >= _LEAST_COUNT else 0
        return max(now, whole / max(_number(_first_line(f"{self.proc}/uptime")), 1.0))

    def _busy_in_kernel(self, counts: dict[str, float]) -> float:
        """CPUs that run in the kernel at this load: the share of it since boot, of those that are busy now."""
        user, system, idle, cpus = (counts.get(one, 0) for one in ("user", "system", "idle", "cpus"))
        busy = min(_number(_first_line(f"{self.proc}/loadavg")), cpus)
        whole = user + system + idle
        usual = cpus * (user + system) / whole if whole else 0
        return max(busy, usual) * system / ((user + system) or 1)

    def _counts(self) -> dict[str, float]:
        """Counts since the kernel was booted; times in seconds."""
        found: dict[str, float] = {"cpus": 0}
        for line in _lines(f"{self.proc}/stat"):
            word, _, rest = line.partition(" ")
            if word == "cpu":
                user, nice, system, idle, wait, irq, softirq = (_number(one) / _TICKS for one in rest.split()[:7])
                found |= {"user": user + nice, "system": system + irq + softirq, "idle": idle + wait}
            elif word in (SWITCHES, INTERRUPTS, SOFTIRQS):
                found[word] = _number(rest)
            else:
                found["cpus"] += word.startswith("cpu")
        names = {_counted_by(probe) for one in self.unit.programs for probe in one.probes[: MANY + 1]}
        if names & {FAULTS, PAGES}:
            for line in _lines(f"{self.proc}/vmstat"):
                word, _, rest = line.partition(" ")
                key = PAGES if word.startswith("pgalloc_") else word
                if key in (FAULTS, PAGES):
                    found[key] = found.get(key, 0) + _number(rest)
        if PACKETS in names:
            for line in _lines(f"{self.proc}/net/dev")[2:]:
                words = line.partition(":")[2].split()
                if len(words) > 9:
                    found[PACKETS] = found.get(PACKETS, 0) + _number(words[1]) + _number(words[9])
        return found


def cost_us(source: ir.Program, program: Program) -> float:
    """Microseconds that a program takes each time, with what brings it there; of a predicate what is before it."""
    found = _BASE_US.get(source.probes[0].kind, 0.1)
    slots = program.instructions
    last = len(slots) - 2
    rest = source.dispatch is None or len(source.probes) < _ALMOST_ALL
    for place, one in enumerate(slots):
        found += _INSTRUCTION_US
        if one.code == _CALL and one.src == 0:
            found += next((us for helpers, us in _HELPER_US if one.imm in helpers), _OTHER_US)
        elif rest and one.code & _CALL_CODE == 5 and one.off > 0 and place + 1 + one.off >= last > place + 8:
            break  # a predicate: most events end here
    return found


def _counted_by(probe: Probe) -> str:
    """What counts the events of a probe."""
    if probe.kind in ("kprobe", "kretprobe", "fentry", "fexit"):
        return next((by for names, by in HOT_FUNCTIONS if probe.target.startswith(names)), KERNEL_TIME)
    for word in (probe.target, probe.module):
        for begin, by in _COUNTED.items():
            if word.startswith(begin):
                return by
    return KERNEL_TIME


def _names(probes: list[Probe]) -> str:
    names = list(dict.fromkeys(probe.target for probe in probes))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _rounded(number: float) -> str:
    """Two digits that count: 12,000."""
    digits = max(len(str(int(number))) - 2, 0)
    return f"{round(number, -digits):,.0f}"


def _share(cpus: float) -> str:
    return f"{cpus:.1f} CPUs" if cpus >= 1 else f"{100 * cpus:.2g} % of a CPU"


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().split("\n")
    except OSError:
        return []


def _first_line(path: str) -> str:
    return next(iter(_lines(path)), "")


def _number(text: str) -> float:
    """The number at the beginning of a text; 0 when there is none."""
    try:
        return float(text.split(None, 1)[0])
    except (ValueError, IndexError):
        return 0.0
