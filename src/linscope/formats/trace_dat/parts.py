"""A recording before it is a trace.dat: what tracefs tells, and the folder in which a recorder gathers pages.

The folder holds ``head.dat``, a trace.dat without pages that is written first, one file of pages for each CPU of each
instance, and perhaps ``cmdlines``, the names of tasks as they were known last.  So a recorder that was killed leaves
all that ``salvage_trace_dat`` needs.  The kernel's symbols can be had until the machine boots again: a file ``boot``
says that they are wanted, and of which boot.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress

from linscope.errors import InputError
from linscope.formats.perf_data.write_tracing_data import format_texts, read_if_allowed
from linscope.formats.trace_dat import options as opt
from linscope.formats.trace_dat.writer import TraceBuffer, TraceDatContents, write_trace_dat
from linscope.version import VERSION

HEAD, CMDLINES, BOOT = "head.dat", "cmdlines", "boot"
KALLSYMS = "/proc/kallsyms"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_PAGES = re.compile(r"(\d+)\.cpu(\d+)\.pages")
_POINTERS = frozenset((opt.DONE, opt.BUFFER, opt.BUFFER_TEXT, opt.TRACECLOCK, opt.STRINGS, opt.CPUCOUNT)) | frozenset(
    range(opt.HEADER_INFO, opt.CMDLINES + 1)
)


def collect_contents(
    tracefs: str, tracepoints: Iterable[tuple[str, str]], *, kallsyms: bool = True
) -> TraceDatContents:
    """What tracefs and /proc tell now; buffers and further options are the caller's to add.

    tracefs: its top folder.  tracepoints: (system, name) of the events to describe; those of the tracers ("ftrace")
    are added, for a reader needs them for all that is no tracepoint.  kallsyms: take the kernel's symbols along
    (about 10 MB of text), by which functions and stacks are named.
    """
    own = sorted(entry.name for entry in os.scandir(f"{tracefs}/events/ftrace") if entry.is_dir())
    names = [*(("ftrace", name) for name in own), *tracepoints]
    formats = {system: [text for text in texts if text] for system, texts in format_texts(tracefs, names).items()}
    system = os.uname()
    return TraceDatContents(
        header_page=read_if_allowed(f"{tracefs}/events/header_page"),
        header_event=read_if_allowed(f"{tracefs}/events/header_event"),
        formats=formats,
        kallsyms=read_if_allowed(KALLSYMS) if kallsyms else b"",
        printk_formats=read_if_allowed(f"{tracefs}/printk_formats"),
        cmdlines=read_if_allowed(f"{tracefs}/saved_cmdlines"),
        options=[
            (opt.UNAME, opt.text_option(" ".join((system.sysname, system.nodename, system.release, system.machine)))),
            (opt.VERSION, opt.text_option(f"linscope {VERSION}")),
        ],
    )


def begin_parts(folder: str, contents: TraceDatContents, *, with_symbols: bool = False) -> None:
    """Write the head into an existing folder.  Raises OutputError.

    with_symbols: the contents lack kallsyms, which will be wanted.
    """
    write_trace_dat(os.path.join(folder, HEAD), contents, compression="none")
    if with_symbols:
        with open(os.path.join(folder, BOOT), "wb") as file:
            file.write(read_if_allowed(_BOOT_ID))


def remove_parts(folder: str) -> None:
    """Remove the folder and the files that belong in it; what else is there stays, and the folder then does too."""
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - pathlib costs start-up time
            if name in (HEAD, CMDLINES, BOOT) or _PAGES.fullmatch(name):
                os.unlink(os.path.join(folder, name))
        os.rmdir(folder)  # noqa: PTH106


def pages_path(folder: str, buffer: int, cpu: int) -> str:
    """Where the pages of a CPU go; buffer: its number among the contents' buffers."""
    return os.path.join(folder, f"{buffer}.cpu{cpu}.pages")


def salvage_trace_dat(folder: str, path: str, *, version: int = 7, compression: str = "zstd") -> int:
    """Build a trace.dat of what a recorder left in its folder; returns its bytes.  The folder stays as it is.

    Raises InputError when it holds no head, FormatError when that is damaged, OutputError as write_trace_dat.
    """
    head = os.path.join(folder, HEAD)
    try:
        with open(head, "rb") as file:
            data = file.read()
        found = sorted(entry.name for entry in os.scandir(folder) if _PAGES.fullmatch(entry.name))
    except OSError as error:
        raise InputError(
            "no parts of a recording",
            where=folder,
            why=error.strerror or "",
            next_step=f"name a folder with {HEAD}, as a recorder that was killed leaves it",
        ) from None
    contents = read_contents(data, head)
    contents.cmdlines = read_if_allowed(os.path.join(folder, CMDLINES)) or contents.cmdlines
    if (boot := read_if_allowed(os.path.join(folder, BOOT))) and boot == read_if_allowed(_BOOT_ID):
        contents.kallsyms = read_if_allowed(KALLSYMS)
    for name in found:
        match = _PAGES.fullmatch(name)
        if match is not None and int(match[1]) < len(contents.buffers):
            contents.buffers[int(match[1])].cpus.append((int(match[2]), os.path.join(folder, name), None))
    for buffer in contents.buffers:
        buffer.cpus.sort(key=lambda one: one[0])
    return write_trace_dat(path, contents, version=version, compression=compression)


def read_contents(data: bytes, where: str) -> TraceDatContents:
    """What a trace.dat holds beside its pages, to be written again; its buffers are listed without their CPUs.

    Raises FormatError, UnsupportedError.
    """
    from linscope.formats.trace_dat.container import read_container

    container = read_container(data, where)
    tracing = container.tracing
    return TraceDatContents(
        header_page=tracing.header_page.encode(),
        header_event=tracing.header_event.encode(),
        formats={system: [text.encode() for text in texts] for system, texts in tracing.events.texts().items()},
        kallsyms=tracing.kallsyms.encode(),
        printk_formats=tracing.printk_formats.encode(),
        cmdlines="".join(f"{pid} {name}\n" for pid, name in container.cmdlines.items()).encode(),
        options=[(n, value) for n, values in container.options.items() if n not in _POINTERS for value in values],
        buffers=[TraceBuffer(one.name, one.clock or "local", one.page_size) for one in container.buffers],
        page_size=tracing.page_size,
        long_size=tracing.long_size,
        big_endian=tracing.big_endian,
    )
