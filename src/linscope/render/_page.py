"""Parts that the self-contained pages share: assets, security policy, packed data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from functools import cache
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.render._format import clean


@cache
def _asset(name: str) -> str:
    return (resources.files("linscope.render") / "assets" / name).read_text(encoding="utf-8").strip()


def fill_page(name: str, fields: dict[str, str]) -> str:
    """The page of that name (assets/NAME-page.html) with its script, style and fields; fields: HTML already.

    The Content-Security-Policy allows exactly the page's own script and style, and no network.
    """
    script, style = _asset(f"{name}.js"), _asset(f"{name}-page.css")
    policy = (
        f"default-src 'none'; script-src {_hash_source(script)}; style-src {_hash_source(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    known = {**fields, "policy": policy, "script": script, "style": style}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: known[match[1]], _asset(f"{name}-page.html"))


def _hash_source(text: str) -> str:
    """Content-Security-Policy source that allows exactly this inline script or style (CSP level 3, 2.3.1)."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def html_text(text: str) -> str:
    """Text as HTML."""
    return escape(clean(text))


def html_notes(notes: list[str]) -> str:
    """The list of notes; empty without any."""
    if not notes:
        return ""
    items = "".join(f"<li>{html_text(note)}</li>" for note in notes)
    return f'<ul class="notes" aria-label="Notes">{items}</ul>'


def planes(values: NDArray[Any], width: int) -> bytes:
    """Little-endian integers of width bytes, byte plane after byte plane: all lowest bytes first."""
    array = np.ascontiguousarray(values, dtype=f"<u{width}")
    return array.view(np.uint8).reshape(-1, width).T.tobytes()


def pack(header: dict[str, Any], parts: list[bytes]) -> str:
    """base64 of raw deflate of: u32 length, JSON header of that length, then the parts."""
    text = json.dumps(header, separators=(",", ":")).encode()
    deflate = zlib.compressobj(level=1, wbits=-15)
    whole = [len(text).to_bytes(4, "little"), text, *parts]
    packed = b"".join([*(deflate.compress(part) for part in whole), deflate.flush()])
    return base64.b64encode(packed).decode()
