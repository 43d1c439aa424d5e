"""Event + options -> the attr that samples it, with perf record's choices.

Source: tools/perf/util/evsel.c (evsel__config) and record.c (evlist__config), Linux 6.1.  Beyond perf:
every sample
carries TIME, CPU and IDENTIFIER, because tables need them and side-band records have an event of their own.
"""

from __future__ import annotations

import os

from linscope.abi import perf_event as pe
from linscope.errors import UsageError
from linscope.session.options import RecordOptions
from linscope.sources.events import Event
from linscope.sys.perf_event_open import Attr
from linscope.sys.tracefs import read_text

DEFAULT_FREQUENCY = 4000
_ALWAYS = (
    pe.PERF_SAMPLE_IDENTIFIER
    | pe.PERF_SAMPLE_IP
    | pe.PERF_SAMPLE_TID
    | pe.PERF_SAMPLE_TIME
    | pe.PERF_SAMPLE_CPU
)
SAMPLE_ID_SIZE = 32  # of the TID, TIME, CPU, IDENTIFIER trailer that sample_id_all adds to other records

# PERF_SAMPLE_REGS_USER masks: every register that perf asks for (arch/*/include/uapi/asm/perf_regs.h);
# on x86-64 all
# but ds, es, fs, gs, which the kernel does not sample there
_USER_REGISTERS = {
    "x86_64": 0xFF0FFF,
    "aarch64": (1 << 33) - 1,
    "riscv64": (1 << 32) - 1,
    "loongarch64": (1 << 33) - 1,
}

BRANCH_FILTERS = {
    "u": pe.PERF_SAMPLE_BRANCH_USER,
    "k": pe.PERF_SAMPLE_BRANCH_KERNEL,
    "hv": pe.PERF_SAMPLE_BRANCH_HV,
    "any": pe.PERF_SAMPLE_BRANCH_ANY,
    "any_call": pe.PERF_SAMPLE_BRANCH_ANY_CALL,
    "any_ret": pe.PERF_SAMPLE_BRANCH_ANY_RETURN,
    "ind_call": pe.PERF_SAMPLE_BRANCH_IND_CALL,
    "ind_jmp": pe.PERF_SAMPLE_BRANCH_IND_JUMP,
    "call": pe.PERF_SAMPLE_BRANCH_CALL,
    "cond": pe.PERF_SAMPLE_BRANCH_COND,
    "in_tx": pe.PERF_SAMPLE_BRANCH_IN_TX,
    "no_tx": pe.PERF_SAMPLE_BRANCH_NO_TX,
    "abort_tx": pe.PERF_SAMPLE_BRANCH_ABORT_TX,
    "save_type": pe.PERF_SAMPLE_BRANCH_TYPE_SAVE,
    "stack": pe.PERF_SAMPLE_BRANCH_CALL_STACK,
}


def branch_sample_type(filters: str) -> int:
    """attr.branch_sample_type of a -j argument; a privilege alone means any.  Raises UsageError."""
    bits = 0
    for name in filters.split(","):
        if name not in BRANCH_FILTERS:
            raise UsageError(f"no branch filter {name!r}", why=f"there are {', '.join(BRANCH_FILTERS)}")
        bits |= BRANCH_FILTERS[name]
    if not bits & ~pe.PERF_SAMPLE_BRANCH_PLM_ALL:
        bits |= pe.PERF_SAMPLE_BRANCH_ANY
    return bits


def sample_rate_limit() -> int:
    """kernel.perf_event_max_sample_rate, in samples per second."""
    try:
        return int(read_text("/proc/sys/kernel/perf_event_max_sample_rate"))
    except OSError:
        return 100_000


def sampling_attr(event: Event, options: RecordOptions, frequency: int) -> Attr:
    """The attr to sample event with; frequency: samples per second where no period is set.  Raises
    UsageError."""
    attr = event.attr.copy()
    attr.sample_type = _ALWAYS
    attr.read_format = pe.PERF_FORMAT_ID | pe.PERF_FORMAT_LOST
    attr.flags |= pe.ATTR_SAMPLE_ID_ALL | pe.ATTR_DISABLED | pe.ATTR_WATERMARK
    if options.inherit and not event.sample_read and "no-inherit" not in event.terms:
        attr.flags |= pe.ATTR_INHERIT
    _set_period(attr, event, options, frequency)
    if event.tracepoint is not None:
        attr.sample_type |= pe.PERF_SAMPLE_RAW | pe.PERF_SAMPLE_PERIOD
    elif options.raw:
        attr.sample_type |= pe.PERF_SAMPLE_RAW
    if options.addresses:
        attr.sample_type |= pe.PERF_SAMPLE_ADDR
    if options.weight:
        attr.sample_type |= pe.PERF_SAMPLE_WEIGHT
    if options.period_field:
        attr.sample_type |= pe.PERF_SAMPLE_PERIOD
    if options.inherit_stat:
        attr.flags |= pe.ATTR_INHERIT_STAT
        attr.read_format |= pe.PERF_FORMAT_TOTAL_TIME_ENABLED | pe.PERF_FORMAT_TOTAL_TIME_RUNNING
    if options.branch_filter:
        attr.sample_type |= pe.PERF_SAMPLE_BRANCH_STACK
        attr.branch_sample_type = branch_sample_type(options.branch_filter)
    if event.sample_read:
        attr.sample_type |= pe.PERF_SAMPLE_READ
        attr.read_format |= pe.PERF_FORMAT_GROUP
        if event.leader is not event:
            attr.flags &= ~pe.ATTR_FREQ
            attr.sample_period = 0
    _set_callchain(attr, event, options)
    set_clock(attr, options)
    if event.precise_max:
        attr.precise_ip = 3
    return attr


def set_clock(attr: Attr, options: RecordOptions) -> None:
    """use_clockid, when asked for; all events of a ring need the same."""
    if options.clockid is not None:
        attr.flags |= pe.ATTR_USE_CLOCKID
        attr.clockid = options.clockid


def _set_period(attr: Attr, event: Event, options: RecordOptions, frequency: int) -> None:
    if "period" in event.terms:
        attr.sample_period = int(event.terms["period"], 0)
    elif "freq" in event.terms:
        attr.sample_period = int(event.terms["freq"], 0)
        attr.flags |= pe.ATTR_FREQ
    elif options.period is not None:
        attr.sample_period = options.period
    elif options.frequency is None and (event.tracepoint is not None or attr.sample_period):
        attr.sample_period = attr.sample_period or 1
    else:
        attr.sample_period = frequency
        attr.flags |= pe.ATTR_FREQ
    if attr.sample_period < 1:
        raise UsageError(f"not a period or frequency of {event.name}: {attr.sample_period}", next_step="1 or more")
    if attr.flags & pe.ATTR_FREQ:
        attr.sample_type |= pe.PERF_SAMPLE_PERIOD


def _set_callchain(attr: Attr, event: Event, options: RecordOptions) -> None:
    mode, _comma, size = event.terms.get("call-graph", options.call_graph).partition(",")
    if mode in ("", "no"):
        return
    stack_size = _stack_size(event.terms.get("stack-size", size or str(options.stack_size)))
    attr.sample_type |= pe.PERF_SAMPLE_CALLCHAIN
    attr.sample_max_stack = int(event.terms.get("max-stack", str(options.max_stack)), 0)
    if options.user_callchains:
        attr.flags |= pe.ATTR_EXCLUDE_CALLCHAIN_KERNEL
    if options.kernel_callchains:
        attr.flags |= pe.ATTR_EXCLUDE_CALLCHAIN_USER
    if mode == "dwarf":
        attr.sample_type |= pe.PERF_SAMPLE_REGS_USER | pe.PERF_SAMPLE_STACK_USER
        attr.sample_regs_user = _USER_REGISTERS.get(os.uname().machine, 0)
        attr.sample_stack_user = stack_size
        attr.flags |= pe.ATTR_EXCLUDE_CALLCHAIN_USER
        if not attr.sample_regs_user:
            raise UsageError(
                f"no register layout known for {os.uname().machine}", next_step="--call-graph fp"
            )
    elif mode == "lbr":
        attr.sample_type |= pe.PERF_SAMPLE_BRANCH_STACK
        attr.branch_sample_type = (
            pe.PERF_SAMPLE_BRANCH_USER
            | pe.PERF_SAMPLE_BRANCH_CALL_STACK
            | pe.PERF_SAMPLE_BRANCH_NO_CYCLES
            | pe.PERF_SAMPLE_BRANCH_NO_FLAGS
        )
        attr.flags |= pe.ATTR_EXCLUDE_CALLCHAIN_USER
    elif mode != "fp":
        raise UsageError(f"no call graph mode {mode!r}", next_step="fp, dwarf[,SIZE] or lbr")


def _stack_size(text: str) -> int:
    """Bytes of a user stack dump.  Raises UsageError."""
    try:
        size = int(text, 0)
    except ValueError:
        size = 0
    if not 0 < size <= 65528 or size % 8:
        raise UsageError(f"not a stack size: {text}", next_step="a multiple of 8 up to 65528")
    return size


def tracking_attr(options: RecordOptions) -> Attr:
    """The attr of the side-band event: mappings, names, forks and exits of tasks, BPF and kernel symbols.

    It counts nothing (PERF_COUNT_SW_DUMMY), so that it is never multiplexed and has a small ring of its own.
    """
    attr = Attr(
        type=pe.PERF_TYPE_SOFTWARE,
        config=pe.PERF_COUNT_SW_DUMMY,
        sample_period=1,
        sample_type=_ALWAYS,
        read_format=pe.PERF_FORMAT_ID | pe.PERF_FORMAT_LOST,
        flags=pe.ATTR_DISABLED
        | pe.ATTR_EXCLUDE_KERNEL
        | pe.ATTR_EXCLUDE_HV
        | pe.ATTR_EXCLUDE_GUEST
        | pe.ATTR_MMAP
        | pe.ATTR_MMAP2
        | pe.ATTR_COMM
        | pe.ATTR_COMM_EXEC
        | pe.ATTR_TASK
        | pe.ATTR_WATERMARK
        | pe.ATTR_SAMPLE_ID_ALL
        | pe.ATTR_KSYMBOL
        | pe.ATTR_BPF_EVENT,
    )
    if options.inherit:
        attr.flags |= pe.ATTR_INHERIT
    if options.addresses:
        attr.flags |= pe.ATTR_MMAP_DATA
    if options.switch_events:
        attr.flags |= pe.ATTR_CONTEXT_SWITCH
    set_clock(attr, options)
    return attr
