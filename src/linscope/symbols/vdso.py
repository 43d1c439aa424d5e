"""The vdso: the ELF image that the kernel maps into every process."""

from __future__ import annotations

_MAX_BYTES = 1 << 20


def read_vdso(proc: str = "/proc") -> bytes | None:
    """The image in this process's own memory, None when there is none or /proc does not show it."""
    try:
        with open(f"{proc}/self/maps", encoding="utf-8", errors="replace") as maps:
            line = next((line for line in maps if line.rstrip().endswith("[vdso]")), "")
        if not line:
            return None
        start, _, end = line.split()[0].partition("-")
        size = int(end, 16) - int(start, 16)
        if not 0 < size <= _MAX_BYTES:
            return None
        with open(f"{proc}/self/mem", "rb", buffering=0) as memory:
            memory.seek(int(start, 16))
            return memory.read(size)
    except (OSError, ValueError):
        return None
