"""Pairs of kernel events that are the two ends of one thing, and the fields that tell which end belongs to which.

Source: the events' definitions under include/trace/events/; who is meant by the fields was checked with ``print fmt``.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

LAST = "last"
FIRST = "first"
NESTED = "nested"


class Pair(NamedTuple):
    """Two kinds of events, by globs, and how they are matched."""

    start: str
    end: str
    key: tuple[tuple[str, str], ...]  # (field of start, field of end)
    title: str
    repeat: str = LAST
    idle: int | None = None  # events whose (only) key has this value are none: the idle tasks all have pid 0
    task: tuple[str, str] = ("", "")  # (thread id, name) by fields of the end; empty: the thread that ran at start


_THREAD = (("tid", "tid"),)
_WAKE = (("pid", "next_pid"),)
_REQUEST = (("dev", "dev"), ("sector", "sector"))
_WORK = (("work", "work"),)
_TIMER = (("timer", "timer"),)
_HRTIMER = (("hrtimer", "hrtimer"),)
_PACKET = (("skbaddr", "skbaddr"),)
_NEXT = ("next_pid", "next_comm")

# The first that fits is taken; in this order they are looked for when no event is asked for.
PAIRS = (
    Pair("sched:sched_waking", "sched:sched_switch", _WAKE, "scheduler wakeup latency", idle=0, task=_NEXT),
    Pair("sched:sched_wakeup", "sched:sched_switch", _WAKE, "scheduler wakeup latency", idle=0, task=_NEXT),
    Pair("sched:sched_wakeup_new", "sched:sched_switch", _WAKE, "latency of the first run", idle=0, task=_NEXT),
    Pair("block:block_rq_issue", "block:block_rq_complete", _REQUEST, "block I/O latency"),
    Pair("block:block_rq_insert", "block:block_rq_issue", _REQUEST, "block I/O queueing"),
    Pair("block:block_rq_insert", "block:block_rq_complete", _REQUEST, "block I/O, queued"),
    Pair("raw_syscalls:sys_enter", "raw_syscalls:sys_exit", _THREAD, "system call latency"),
    Pair("syscalls:sys_enter_*", "syscalls:sys_exit_*", _THREAD, "system call latency"),
    Pair("irq:irq_handler_entry", "irq:irq_handler_exit", (("cpu", "cpu"), ("irq", "irq")), "interrupt handler time"),
    Pair("irq:softirq_entry", "irq:softirq_exit", (("cpu", "cpu"), ("vec", "vec")), "softirq time"),
    Pair("irq:softirq_raise", "irq:softirq_entry", (("cpu", "cpu"), ("vec", "vec")), "softirq delay", repeat=FIRST),
    Pair("irq:tasklet_entry", "irq:tasklet_exit", (("cpu", "cpu"), ("func", "func")), "tasklet time"),
    Pair("irq_vectors:*_entry", "irq_vectors:*_exit", (("cpu", "cpu"), ("vector", "vector")), "interrupt time", NESTED),
    Pair("workqueue:workqueue_queue_work", "workqueue:workqueue_execute_start", _WORK, "work queue delay"),
    Pair("workqueue:workqueue_activate_work", "workqueue:workqueue_execute_start", _WORK, "work start delay"),
    Pair("workqueue:workqueue_execute_start", "workqueue:workqueue_execute_end", _WORK, "work time"),
    Pair("timer:timer_start", "timer:timer_expire_entry", _TIMER, "time until a timer expires"),
    Pair("timer:timer_expire_entry", "timer:timer_expire_exit", _TIMER, "timer handler time"),
    Pair("timer:hrtimer_start", "timer:hrtimer_expire_entry", _HRTIMER, "time until an hrtimer expires"),
    Pair("timer:hrtimer_expire_entry", "timer:hrtimer_expire_exit", _HRTIMER, "hrtimer handler time"),
    Pair("net:net_dev_queue", "net:net_dev_start_xmit", _PACKET, "network queueing delay"),
    Pair("net:net_dev_queue", "net:net_dev_xmit", _PACKET, "network transmit latency"),
    Pair("net:netif_receive_skb", "skb:consume_skb", _PACKET, "time in the network stack"),
    Pair("kvm:kvm_exit", "kvm:kvm_entry", _THREAD, "time out of the guest"),
    Pair("kvm:kvm_entry", "kvm:kvm_exit", _THREAD, "time in the guest"),
    Pair("lock:contention_begin", "lock:contention_end", (("tid", "tid"), ("lock_addr", "lock_addr")), "lock wait"),
    Pair("vmscan:mm_vmscan_direct_reclaim_begin", "vmscan:mm_vmscan_direct_reclaim_end", _THREAD, "direct reclaim"),
    Pair("compaction:mm_compaction_begin", "compaction:mm_compaction_end", _THREAD, "memory compaction"),
    Pair("jbd2:jbd2_start_commit", "jbd2:jbd2_end_commit", (("dev", "dev"), ("transaction", "transaction")), "commit"),
    Pair("ext4:*_enter", "ext4:*_exit", _THREAD, "ext4 operation", NESTED),
    Pair("power:cpu_idle", "power:cpu_idle", (("cpu_id", "cpu_id"),), "time between changes of idle state"),
    Pair("sched:sched_switch", "sched:sched_switch", (("prev_pid", "next_pid"),), "time off CPU", idle=0, task=_NEXT),
)  # fmt: skip


def find_pair(start: str, end: str) -> Pair | None:
    """The pair that two events, by their whole names, are known as; None for others."""
    for pair in PAIRS:
        if fnmatchcase(start, pair.start) and fnmatchcase(end, pair.end):
            return pair
    return None
