"""Detach without waiting.

Closing the last descriptor of a tracepoint's perf event waits for every CPU (kernel/trace/trace_event_perf.c,
perf_trace_event_unreg: an RCU grace period), 40 to 80 ms each.  So links are closed here, which stops their programs at
once, and what is left of perf events is closed by a process that is forked for that.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from linscope.bpf.kernel.links import Link

_HIGHEST = 1 << 20  # descriptors above are closed too, when a process has so many


def close_all(links: Iterable[Link], *, wait: bool = False) -> None:
    """Detach all; programs behind links run no more when this returns.

    Where the kernel has no links for perf events (before v5.15), a program may run until the forked process has closed
    its event.  wait: until all is closed, also what is slow.
    """
    slow: list[int] = []
    undo: list[Callable[[], None]] = []
    pending = list(links)
    for link in pending:  # which grows
        pending += link.parts
        link.parts = []
        slow += link.take_more()
        if link.undo is not None:
            undo.append(link.undo)
            link.undo = None
        link.close()
    if slow or undo:
        _close_elsewhere(slow, undo, wait=wait)


def _close_elsewhere(descriptors: list[int], undo: list[Callable[[], None]], *, wait: bool) -> None:
    """Close descriptors in a forked process, then do what is to be done after that.

    The child has nothing else open, so that nobody who waits for the end of our output waits for it; it is a
    grandchild, so that it leaves no zombie.
    """
    try:
        child = os.fork()
    except OSError:  # no more processes: then it takes its time
        for fd in descriptors:
            os.close(fd)
        for each in undo:
            each()
        return
    if child == 0:
        try:
            if wait or os.fork() == 0:
                os.setsid()
                _keep_only(descriptors)
                for fd in descriptors:
                    os.close(fd)
                for each in undo:
                    each()
        finally:
            os._exit(0)
    for fd in descriptors:
        os.close(fd)
    os.waitpid(child, 0)


def _keep_only(descriptors: list[int]) -> None:
    """Close all other descriptors."""
    low = 0
    for fd in sorted(descriptors):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, _HIGHEST)
