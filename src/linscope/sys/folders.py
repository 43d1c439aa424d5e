"""Where linscope keeps things on this machine (XDG Base Directory Specification)."""

from __future__ import annotations

import os


def cache_folder(name: str) -> str:
    """$XDG_CACHE_HOME/linscope/NAME, in ~/.cache when unset; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = base if base.startswith("/") else os.path.expanduser("~/.cache")  # noqa: PTH111 - pathlib takes 5 ms
    return f"{root}/linscope/{name}"
