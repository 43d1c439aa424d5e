"""Performance monitoring units as sysfs describes them: types, formats of config words, named events.

Source: Documentation/ABI/testing/sysfs-bus-event_source-devices-{events,format} and -devices;
kernel/events/core.c (pmu_dev_alloc) for ``type``, ``cpumask``.
"""

from __future__ import annotations

import os

from linscope.abi.perf_event import PERF_TYPE_RAW
from linscope.errors import UnknownNameError, UsageError
from linscope.sources.event_names import INTEL_ARCHITECTURAL_EVENTS, INTEL_ARCHITECTURAL_FORMAT
from linscope.sys.tracefs import read_text

DEVICES = "/sys/bus/event_source/devices"
_CONFIG_WORDS = ("config", "config1", "config2", "config3", "config4")


class Pmu:
    """One PMU.  ``folder`` is empty for the built-in description of an Intel CPU's PMU."""

    def __init__(self, name: str, folder: str) -> None:
        self.name = name
        self.folder = folder

    @property
    def type(self) -> int:
        """perf_event_attr.type."""
        return int(read_text(self.folder + "/type")) if self.folder else PERF_TYPE_RAW

    def formats(self) -> dict[str, str]:
        """Term -> "config:0-7,32-35": which bits of which word it fills."""
        if not self.folder:
            return INTEL_ARCHITECTURAL_FORMAT
        return {name: read_text(f"{self.folder}/format/{name}") for name in _names(self.folder + "/format")}

    def event_names(self) -> list[str]:
        """Names under events/, without their .scale and .unit companions."""
        if not self.folder:
            return list(INTEL_ARCHITECTURAL_EVENTS)
        return [name for name in _names(self.folder + "/events") if "." not in name]

    def event_terms(self, name: str) -> str:
        """The terms that an event name stands for, "event=0x3c,umask=0x1".  Raises UnknownNameError."""
        if not self.folder and name in INTEL_ARCHITECTURAL_EVENTS:
            code = INTEL_ARCHITECTURAL_EVENTS[name]
            return f"event={code & 0xFF:#x},umask={code >> 8:#x}"
        if name not in self.event_names():
            known = self.event_names() + list(self.formats())
            raise UnknownNameError(
                f"event or term of PMU {self.name}",
                name,
                known,
                next_step=f"see {self.folder or 'the Intel SDM, vol. 3B'}/events and /format for what it has",
            )
        return read_text(f"{self.folder}/events/{name}")

    def scale_and_unit(self, name: str) -> tuple[float, str]:
        """(factor, unit) to show a count of that event in: (1.0, "") for most."""
        return float(self._optional(f"events/{name}.scale") or 1.0), self._optional(f"events/{name}.unit")

    def cpus(self) -> list[int] | None:
        """The CPUs to open its events on; None: no restriction."""
        text = self._optional("cpumask") or self._optional("cpus")
        return parse_cpu_list(text) if text else None

    def _optional(self, path: str) -> str:
        if not self.folder:
            return ""
        try:
            return read_text(f"{self.folder}/{path}")
        except FileNotFoundError:
            return ""


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - pathlib costs start-up time
    except FileNotFoundError:
        return []


def find_pmus(name: str, devices: str = DEVICES) -> list[Pmu]:
    """The PMUs of that name, or of that name with _0, _1... behind (uncore units).

    `cpu` without a folder in sysfs gives the architectural description.  Raises UnknownNameError.
    """
    known = _names(devices)
    if name in known:
        return [Pmu(name, f"{devices}/{name}")]
    numbered = [other for other in known if other.startswith(name + "_") and other[len(name) + 1 :].isdigit()]
    if numbered:
        return [Pmu(other, f"{devices}/{other}") for other in numbered]
    if name == "cpu":
        return [Pmu(name, "")]
    raise UnknownNameError("PMU", name, known, next_step=f"ls {devices}, or linscope record --list-events")


def all_pmus(devices: str = DEVICES) -> list[Pmu]:
    """Every PMU of this machine."""
    return [Pmu(name, f"{devices}/{name}") for name in _names(devices)]


def encode_terms(pmu: Pmu, terms: list[tuple[str, str]]) -> tuple[dict[str, int], list[tuple[str, str]], str]:
    """(config words, terms that are not the PMU's, name of the sysfs event among them or "").

    terms: (name, value) pairs; value "" means 1, or that the name is an event of sysfs.
    Raises UnknownNameError, UsageError (value too large for its bits, or not a number).
    """
    formats = pmu.formats()
    words: dict[str, int] = {}
    others: list[tuple[str, str]] = []
    event = ""
    for name, value in terms:
        if name in _CONFIG_WORDS:
            words[name] = words.get(name, 0) | parse_number(value, name)
        elif name in formats:
            _fill(words, formats[name], parse_number(value or "1", name), f"{pmu.name}/{name}={value}/")
        elif not value and name[0] == "r" and _is_hex(name[1:]) and name not in pmu.event_names():
            words["config"] = words.get("config", 0) | int(name[1:], 16)
        elif not value and name not in GENERAL_TERMS:
            event = name
            given = {term for term, _value in terms}
            expanded = [t for t in split_terms(pmu.event_terms(name)) if not (t[1] == "?" and t[0] in given)]
            missing = [term for term, setting in expanded if setting == "?"]
            if missing:
                raise UsageError(f"{pmu.name}/{name}/ needs a value for {', '.join(missing)}")
            inner, _rest, _name = encode_terms(pmu, expanded)
            for word, bits in inner.items():
                words[word] = words.get(word, 0) | bits
        elif name in GENERAL_TERMS:
            others.append((name, value))
        else:
            raise UnknownNameError(f"term of PMU {pmu.name}", name, list(formats) + list(GENERAL_TERMS))
    return words, others, event


# terms that any event takes (perf-record(1), -e)
GENERAL_TERMS = (
    "name",
    "period",
    "freq",
    "time",
    "call-graph",
    "stack-size",
    "max-stack",
    "inherit",
    "no-inherit",
    "overwrite",
    "no-overwrite",
)


def split_terms(text: str) -> list[tuple[str, str]]:
    """[("event", "0x3c"), ("edge", "")] of "event=0x3c,edge"."""
    pairs = []
    for term in text.split(","):
        name, _equals, value = term.strip().partition("=")
        if name:
            pairs.append((name.strip(), value.strip()))
    return pairs


def _fill(words: dict[str, int], layout: str, value: int, shown: str) -> None:
    """Spread value over the bits that layout names, lowest first."""
    word, _colon, ranges = layout.partition(":")
    remaining, result = value, 0
    for piece in ranges.split(","):
        low_text, _dash, high_text = piece.partition("-")
        low, high = int(low_text), int(high_text or low_text)
        width = high - low + 1
        result |= (remaining & ((1 << width) - 1)) << low
        remaining >>= width
    if remaining:
        raise UsageError(f"value too large in {shown}", why=f"it has only the bits {layout}")
    words[word] = words.get(word, 0) | result


def parse_number(text: str, name: str) -> int:
    """An unsigned 64-bit number in C notation.  Raises UsageError."""
    try:
        value = int(text, 0)
    except ValueError:
        raise UsageError(f"not a number: {name}={text}") from None
    if not 0 <= value < 1 << 64:
        raise UsageError(f"out of range: {name}={text}", why="it has 64 bits, unsigned")
    return value


def _is_hex(text: str) -> bool:
    return bool(text) and all(character in "0123456789abcdefABCDEF" for character in text)


def parse_cpu_list(text: str) -> list[int]:
    """[0, 1, 4] of "0-1,4".  Raises UsageError."""
    cpus: list[int] = []
    try:
        for piece in text.split(","):
            first, _dash, last = piece.strip().partition("-")
            cpus += range(int(first), int(last or first) + 1)
    except ValueError:
        raise UsageError(f"not a list of CPUs: {text!r}", next_step="write it as 0,2-3") from None
    return cpus
