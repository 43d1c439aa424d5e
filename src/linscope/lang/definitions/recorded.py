"""Types of a recording: fields of tracepoints by the formats that it carries."""

from __future__ import annotations

from linscope.lang.definitions.definitions import Definitions

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from linscope.lang import types as t
    from linscope.lang.definitions.kernel_types import KernelTypes


class RecordedDefinitions(Definitions):
    """The script's own C, and the recording's formats; the running kernel's types only when it is the recorded one."""

    def __init__(
        self, parts: Sequence[tuple[str, int]], read_format: Callable[[str, str], str | None], *,
        include_dirs: Sequence[str] = (), includes: Sequence[str] = (), same_kernel: bool = False,
    ) -> None:  # fmt: skip
        """read_format(subsystem, event): the text of a format, None when the recording has none.

        same_kernel: the running kernel is the recorded one.  Raises SourceError: what is wrong in the C.
        """
        self._read_format = read_format
        self._same_kernel = same_kernel
        super().__init__(parts, include_dirs=include_dirs, includes=includes)

    def kernel(self, *, modules: bool = False) -> list[KernelTypes]:
        """The types of the kernel when it is the recorded one, else none."""
        return super().kernel(modules=modules) if self._same_kernel else []

    def tracepoint(self, system: str, event: str) -> t.Struct | None:
        """The fields of a tracepoint, at their offsets in its record; None: it was not recorded."""
        key = system, event
        if key not in self._tracepoints:
            from linscope.lang.definitions.tracepoints import parse_format

            text = self._read_format(system, event)
            self._tracepoints[key] = text and parse_format(  # type: ignore[assignment]  # "" is None
                text, f"{system}:{event}", self.find_type, string_size=self.string_size, user=system == "syscalls"
            )
        return self._tracepoints[key]
