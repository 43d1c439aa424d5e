"""The names of memory allocation flags.

Source: include/linux/gfp_types.h and include/trace/events/mmflags.h (gfpflag_names), v6.12.
"""

from __future__ import annotations

_BITS = (
    "__GFP_DMA", "__GFP_HIGHMEM", "__GFP_DMA32", "__GFP_MOVABLE", "__GFP_RECLAIMABLE", "__GFP_HIGH", "__GFP_IO",
    "__GFP_FS", "__GFP_ZERO", "", "__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM", "__GFP_WRITE", "__GFP_NOWARN",
    "__GFP_RETRY_MAYFAIL", "__GFP_NOFAIL", "__GFP_NORETRY", "__GFP_MEMALLOC", "__GFP_COMP", "__GFP_NOMEMALLOC",
    "__GFP_HARDWALL", "__GFP_THISNODE", "__GFP_ACCOUNT", "__GFP_ZEROTAGS", "__GFP_SKIP_ZERO", "__GFP_SKIP_KASAN",
)  # fmt: skip
_BIT = {name: 1 << place for place, name in enumerate(_BITS) if name}
_RECLAIM = _BIT["__GFP_DIRECT_RECLAIM"] | _BIT["__GFP_KSWAPD_RECLAIM"]
_NOIO = _RECLAIM
_NOFS = _RECLAIM | _BIT["__GFP_IO"]
_KERNEL = _NOFS | _BIT["__GFP_FS"]
_USER = _KERNEL | _BIT["__GFP_HARDWALL"]
_HIGHUSER = _USER | _BIT["__GFP_HIGHMEM"]
_MOVABLE = _HIGHUSER | _BIT["__GFP_MOVABLE"] | _BIT["__GFP_SKIP_KASAN"]
_LIGHT = (_MOVABLE | _BIT["__GFP_COMP"] | _BIT["__GFP_NOMEMALLOC"] | _BIT["__GFP_NOWARN"]) & ~_RECLAIM
# those that name most first
_WHOLE = (
    ("GFP_TRANSHUGE", _LIGHT | _BIT["__GFP_DIRECT_RECLAIM"]), ("GFP_TRANSHUGE_LIGHT", _LIGHT),
    ("GFP_HIGHUSER_MOVABLE", _MOVABLE), ("GFP_HIGHUSER", _HIGHUSER), ("GFP_USER", _USER),
    ("GFP_KERNEL_ACCOUNT", _KERNEL | _BIT["__GFP_ACCOUNT"]), ("GFP_KERNEL", _KERNEL), ("GFP_NOFS", _NOFS),
    ("GFP_ATOMIC", _BIT["__GFP_HIGH"] | _BIT["__GFP_KSWAPD_RECLAIM"]), ("GFP_NOIO", _NOIO),
    ("GFP_NOWAIT", _BIT["__GFP_KSWAPD_RECLAIM"]), ("GFP_DMA", _BIT["__GFP_DMA"]), ("GFP_DMA32", _BIT["__GFP_DMA32"]),
)  # fmt: skip


def gfp_text(flags: int) -> str:
    """The names of flags as the kernel's trace events show them; "none" for 0, what has no name in hexadecimal.

    >>> gfp_text(0xcc0), gfp_text(0xdc0)
    ('GFP_KERNEL', 'GFP_KERNEL|__GFP_ZERO')
    """
    if not flags:
        return "none"
    names = []
    for name, mask in _WHOLE:
        if flags & mask == mask:
            names.append(name)
            flags &= ~mask
    for name, mask in _BIT.items():
        if flags & mask:
            names.append(name)
            flags &= ~mask
    if flags:
        names.append(f"{flags:#x}")
    return "|".join(names)
