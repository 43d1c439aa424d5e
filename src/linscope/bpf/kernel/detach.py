"""Detach without waiting.

Taking a program from a perf event waits for tasks-trace RCU (kernel/trace/bpf_trace.c, perf_event_detach_bpf_prog,
since ef1b808e3b7c of v6.13), and closing the last descriptor of a tracepoint's event for RCU on every CPU
(kernel/trace/trace_event_perf.c, perf_trace_event_unreg): 40 to 80 ms each.  So a process is forked that closes them
all, side by side.
"""

from __future__ import annotations

import _thread
import os

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from linscope.bpf.kernel.links import Link

_HIGHEST = 1 << 20  # descriptors above are closed too, when a process has so many
_SIDE_BY_SIDE = 32
_SLOW = ("perf link", "perf ioctl", "kprobe_multi", "uprobe_multi")


def close_all(links: Iterable[Link], *, wait: bool = False) -> None:
    """Detach all.  Links of raw tracepoints, tracing, cgroups, interfaces and iterators are gone when this returns.

    Those of perf events and probes go a moment later, all at about the same time: a program that must count nothing
    after that asks a flag of its own in a map.  wait: return when everything is gone.
    """
    pending, first, second = list(links), [], []
    undo: list[Callable[[], None]] = []
    for link in pending:  # which grows
        pending += link.parts
        link.parts = []
        if link.how in _SLOW:
            second += link.take_more()
            if link.fd >= 0:
                first.append(link.take())
            if link.undo is not None:
                undo.append(link.undo)
                link.undo = None
        link.close()
    if first or second or undo:
        _close_elsewhere(first, second, undo, wait=wait)


def _close_elsewhere(
    first: Sequence[int], second: Sequence[int], undo: Sequence[Callable[[], None]], *, wait: bool
) -> None:
    """Close descriptors in a forked process, some before others, then do what is to be done after that.

    The child has nothing else open, so that nobody who waits for the end of our output waits for it; it is a
    grandchild, so that it leaves no zombie.
    """
    # whoever closes a descriptor last waits for the kernel: the child begins when ours are closed, the pipe after them
    read_end, write_end = os.pipe()
    descriptors = [*first, *second]
    try:
        child = os.fork()
    except OSError:  # no more processes: then it takes its time
        for fd in (*descriptors, read_end, write_end):
            os.close(fd)
        for each in undo:
            each()
        return
    if child == 0:
        try:
            os.close(write_end)
            if wait or os.fork() == 0:
                os.setsid()
                _keep_only([*descriptors, read_end])
                os.read(read_end, 1)
                _close_side_by_side(first)
                _close_side_by_side(second)
                for each in undo:
                    each()
        finally:
            os._exit(0)
    for fd in (*descriptors, read_end):
        os.close(fd)
    if wait:
        os.close(write_end)
    os.waitpid(child, 0)
    if not wait:
        os.close(write_end)


def _close_side_by_side(descriptors: Sequence[int]) -> None:
    """Close each in a thread, so that they wait for the kernel together."""

    def close(part: Sequence[int], done: _thread.LockType) -> None:
        for fd in part:
            os.close(fd)
        done.release()

    locks = []
    for number in range(min(_SIDE_BY_SIDE, len(descriptors))):
        lock = _thread.allocate_lock()
        lock.acquire()
        locks.append(lock)
        _thread.start_new_thread(close, (descriptors[number::_SIDE_BY_SIDE], lock))
    for lock in locks:
        lock.acquire()


def _keep_only(descriptors: Sequence[int]) -> None:
    """Close all other descriptors."""
    low = 0
    for fd in sorted(descriptors):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, _HIGHEST)
