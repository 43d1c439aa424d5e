"""Numbers with units: parse what people type, format what people read."""

from __future__ import annotations

from linscope.errors import UsageError

_BYTES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_NANOSECONDS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60 * 10**9, "h": 3600 * 10**9}


def _split(text: str) -> tuple[str, str]:
    number = text.strip().lower().replace("_", "")
    end = len(number)
    while end and number[end - 1].isalpha():
        end -= 1
    return number[:end], number[end:]


def parse_bytes(text: str) -> int:
    """Bytes of "64", "512K", "1.5G", "2MiB" (powers of 1024).  Raises UsageError."""
    number, suffix = _split(text)
    suffix = suffix.removesuffix("ib") if suffix.endswith("ib") else suffix.removesuffix("b")
    try:
        return int(float(number) * _BYTES[suffix])
    except (ValueError, KeyError, OverflowError):
        raise UsageError(f"not a size: {text!r}", next_step="write it as 4096, 512K, 64M or 1.5G") from None


def parse_duration(text: str, default_unit: str = "s") -> int:
    """Nanoseconds of "1.5", "200ms", "10us", "2m"; a bare number counts in default_unit.  Raises UsageError."""
    number, suffix = _split(text)
    try:
        return int(float(number) * _NANOSECONDS[suffix or default_unit])
    except (ValueError, KeyError, OverflowError):
        raise UsageError(f"not a time: {text!r}", next_step="write it as 1.5s, 200ms, 10us or 2m") from None


def format_bytes(size: float) -> str:
    """ "1.5 MiB" of a number of bytes."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_duration(duration_ns: float) -> str:
    """ "1.50 s" of a number of nanoseconds."""
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if abs(duration_ns) >= scale:
            return f"{duration_ns / scale:.2f} {unit}"
    return f"{duration_ns:.0f} ns"
