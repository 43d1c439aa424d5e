"""Links: a program and where it is attached, until it is closed.

Source: bpf(2); kernel/bpf/syscall.c, bpf_link_detach and bpf_link_update.
"""

from __future__ import annotations

import os

from linscope.bpf.kernel.descriptor import Descriptor, get_by_id, get_pinned
from linscope.sys import bpf as sys_bpf
from linscope.sys.bpf_errors import explain

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from linscope.bpf.kernel.programs import KernelProgram


class Link(Descriptor):
    """One attachment.  ``how`` says which way was found: "raw_tracepoint", "perf link", "perf ioctl", "cgroup"...

    ``more`` are descriptors that it holds beside its own (perf events), ``undo`` what is to be done after closing,
    ``parts`` links of which it is made.
    """

    __slots__ = ("how", "more", "parts", "undo")
    kind = "link"

    def __init__(
        self, fd: int, how: str, *, more: Sequence[int] = (), undo: Callable[[], None] | None = None,
        parts: Sequence[Link] = (),
    ) -> None:  # fmt: skip
        """fd, more, parts: are closed with this object; fd -1: there is no link, the perf events in more are it."""
        super().__init__(fd)
        self.how = how
        self.more = list(more)
        self.undo = undo
        self.parts = list(parts)

    def __repr__(self) -> str:
        return f"<Link {self.how}>"

    @classmethod
    def open(cls, path: str) -> Link:
        """The link that is pinned at a path.  Raises SystemCallError."""
        return cls(get_pinned(path), "pinned")

    @classmethod
    def by_id(cls, id: int) -> Link:
        """The link of an id.  Raises SystemCallError."""
        return cls(get_by_id("link", id), "found")

    def close(self) -> None:
        """Detach, unless it is pinned; harmless when repeated.  ``detach.close_all`` does not wait."""
        super().close()
        for part in self.parts:
            part.close()
        for fd in self.take_more():
            os.close(fd)
        undo, self.undo = self.undo, None
        if undo is not None:
            undo()

    def take_more(self) -> list[int]:
        """The descriptors beside the link's own, which are the caller's from now on."""
        more, self.more = self.more, []
        return more

    def update(self, program: KernelProgram) -> None:
        """Put another program behind the link (cgroup, xdp, iter...).  Raises SystemCallError."""
        try:
            sys_bpf.link_update(self.fd, program.fd)
        except OSError as error:
            raise explain(error, "cannot change the program of the link", since="a link that can be updated") from error

    def detach(self) -> None:
        """Detach now, whoever else holds the link (cgroup, xdp...).  Raises SystemCallError."""
        try:
            sys_bpf.link_detach(self.fd)
        except OSError as error:
            raise explain(error, "cannot detach the link", since="a link that can be detached; close it") from error
