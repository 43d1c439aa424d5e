"""Why the kernel refused a probe, said of the text that a person wrote.

Source: kernel/trace/trace_probe.h, ERRORS; kernel/trace/trace_kprobe.c; kernel/kprobes.c, check_kprobe_address_safe.
"""

from __future__ import annotations

import errno
import os
import re

from linscope.binfmt.btf import Btf
from linscope.errors import ExpressionError, LinscopeError, NotInKernel, PermissionDenied, SystemCallError
from linscope.session.tracing.options import ProbeChoice
from linscope.sources.probes import definition as pd
from linscope.sources.probes.targets import HostResolver, explain_missing_function
from linscope.sys.tracefs import read_text

NEEDS = {
    pd.KERNEL: "CONFIG_KPROBE_EVENTS",
    pd.USER: "CONFIG_UPROBE_EVENTS",
    pd.FUNCTION: "CONFIG_FPROBE_EVENTS",
    pd.TRACEPOINT: "CONFIG_FPROBE_EVENTS",
}
_WHAT = {
    pd.KERNEL: "kprobes",
    pd.USER: "uprobes",
    pd.FUNCTION: "fprobes",
    pd.TRACEPOINT: "probes on tracepoints by their prototypes",
}
_IN_README = {pd.FUNCTION: "f[:", pd.TRACEPOINT: "t[:"}  # in the README of tracefs since v6.4
_BLACKLISTS = ("/sys/kernel/debug/kprobes/blacklist",)


def need_probes(probes: str, tracefs: str) -> None:
    """Raises NotInKernel when the kernel has no probes of this kind (KERNEL, USER, FUNCTION, TRACEPOINT)."""
    there = os.path.exists(f"{tracefs}/{pd.CONTROL_FILES[probes]}")
    if there and probes in _IN_README:
        there = _IN_README[probes] in read_text(f"{tracefs}/README")
    if not there:
        raise NotInKernel(f"this kernel has no {_WHAT[probes]}", why=f"{NEEDS[probes]} is not set")


def load_btf() -> Btf | None:
    """The running kernel's types; None when it has none."""
    try:
        return Btf.open()
    except FileNotFoundError:
        return None


def resolver_of(btf: Btf | None, tracefs: str) -> HostResolver:
    """What this machine knows of functions.  tracefs: "" when it cannot be read."""
    return HostResolver(btf, traceable=f"{tracefs}/available_filter_functions" if tracefs else "")


def explain_refusal(probe: ProbeChoice, error: OSError, reason: str, position: int, tracefs: str) -> LinscopeError:
    """The error for a definition that the kernel refused.

    reason, position: of the error_log, on the kernel's text; ("", 0) when it is silent.
    """
    number = error.errno or 0
    definition = probe.definition
    what = "the kernel does not take this probe"
    if number in (errno.EPERM, errno.EACCES):
        step = "lockdown must not be in force (cat /sys/kernel/security/lockdown), and root is needed"
        return PermissionDenied("probes are not allowed", errno=number, where=tracefs, next_step=step)
    if number == errno.ENOENT and not os.path.exists(f"{tracefs}/{definition.control_file}"):
        need_probes(definition.probes, tracefs)
    if number == errno.EBUSY:
        return SystemCallError(what, errno=number, why="an event of that name is in use", next_step="another name")
    word = definition.text()[:position].count(" ")
    for at, argument in enumerate(definition.arguments, 2):
        symbol = re.search(r"@([A-Za-z_]\w*)", argument.fetch)
        if symbol and number in (errno.ENOENT, errno.EINVAL) and not _is_symbol(symbol[1]):
            why = f"no symbol {symbol[1]!r} in the kernel"
            return ExpressionError(what, text=probe.text, position=_place_of(probe, at), why=why)
    if definition.probes in (pd.KERNEL, pd.FUNCTION) and (word == 1 or not reason):
        why, step = _explain_function(definition, number, tracefs)
        if why:
            return ExpressionError(what, text=probe.text, position=_place_of(probe, 1), why=why, next_step=step)
    return ExpressionError(
        what, text=probe.text, position=_place_of(probe, word), why=reason or os.strerror(number)
    )


def _place_of(probe: ProbeChoice, word: int) -> int:
    """Where the word of the kernel's text stands in what was typed; ``*`` stands for many, at its place."""
    places = [(match.start(), match[0]) for match in re.finditer(r"\S+", probe.text)]
    for number, (place, text) in enumerate(places):
        if number >= word or text == "*":
            return place
    return places[-1][0]


def _explain_function(definition: pd.ProbeDefinition, number: int, tracefs: str) -> tuple[str, str]:
    """(why, next step) of a refused place in the kernel; ("", "") when the kernel's own words say enough."""
    symbol = definition.target.rpartition(":")[2].partition("+")[0]
    if not symbol or symbol[0].isdigit():
        return "", ""
    btf = load_btf()
    resolver = resolver_of(btf, tracefs)
    why, step = explain_missing_function(symbol, btf, resolver)
    if why:
        return f"no function {symbol!r}: {why}", step
    if number == errno.EADDRNOTAVAIL:
        return f"there are several functions {symbol!r}", "the address of one of them, from /proc/kallsyms"
    if number == errno.EILSEQ:
        return "no instruction begins there", f"the entry: {symbol}"
    if _is_blacklisted(symbol):
        return f"{symbol} is in the kernel's list of what must not be probed", "a function that calls it"
    traceable = resolver.traceable_functions()
    if traceable and symbol not in traceable and number == errno.EINVAL:
        why = f"{symbol} is marked as not to be probed or traced (__kprobes, noinstr, notrace), or is no function"
        return why, "a function that calls it"
    return "", ""


def _is_symbol(name: str) -> bool:
    """False if the kernel's symbols can be read, and this is none."""
    known = HostResolver().kernel_functions()
    return not known or name in known


def _is_blacklisted(symbol: str) -> bool:
    """True if debugfs, where it is mounted, lists the function in kprobes/blacklist."""
    for path in _BLACKLISTS:
        try:
            return symbol in read_text(path).split()
        except OSError:
            continue
    return False
