"""C++ and Rust names as people read them, in the spelling of ``perf report``.

perf shows C++ functions without parameters, return type and qualifiers ("S::operator<",
"std::vector<int>::at"), Rust functions without the hash.  C++ goes through the C++ runtime's
``__cxa_demangle`` (3 us a name; found by soname, because asking for the library by name runs the linker),
Rust v0 through the ``demangle`` package. Source: Itanium C++ ABI, "Mangling"; rustc book, "Symbol Mangling";
libiberty's DMGL_NO_OPTS as perf 6.1 uses it.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Callable

_RUNTIMES = ("libstdc++.so.6", "libc++abi.so.1", "libc++.so.1")
_MAX_NAME = 16_384  # longer ones are shown as they are: demangling can grow them exponentially
_RUST_LEGACY = re.compile(r"_ZN(?:[\w$.]*)17h[0-9a-f]{16}E(?:\.[\w.$@]*)?$")
_RUST_V0 = re.compile(r"_R[0-9]*[A-Z]")
_RUST_ESCAPES = {"SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ","}
_ESCAPE = re.compile(r"\$(?:(SP|BP|RF|LT|GT|LP|RP|C)|u([0-9a-f]{1,6}))\$|\.\.|\.")
_CLONES = re.compile(r"(?: \[clone [^\]]*\])+$")
_QUALIFIERS = re.compile(r"(?: const| volatile| &&?| noexcept| restrict)+$")
# What tells where a function's name begins: brackets, blanks, and what only looks like them
_TOKEN = re.compile(
    r"(?P<skip>(?<!\w)operator(?:<=>|<<=|>>=|->\*|\(\)|\[\]|<<|>>|->|&&|\|\||\+\+|--|"
    r"[-+*/%^&|=!<>]=|[-+*/%^&|~!=<>,]|\"\" ?)(?: (?=<))?"
    r"|(?: const| volatile| &&?)+::)"  # of a function around: "f(int) const::{lambda()#1}::operator()"
    r"|(?P<conversion>(?<!\w)operator )"
    r"|(?P<open>[<(\[{])|(?P<close>[>)\]}])|(?P<blank> )"
)


def demangle(name: str, *, parameters: bool = False) -> str:
    """The readable form of a linker symbol, or the name itself when it is not a mangled one.

    parameters: keep parameters, return type, qualifiers and clone suffixes, as ``perf -v`` does.
    """
    if len(name) > _MAX_NAME:
        return name
    if name.startswith("_Z"):
        if _RUST_LEGACY.match(name):
            plain = demangle_rust_legacy(name)
            if plain:
                return plain
        # with DMGL_NO_OPTS libiberty looks no further than the encoding: ".cold" and the like fall away
        full = _demangle_cpp(name)
        if full.startswith("_Z"):
            return name
        if parameters or name.startswith(("_ZT", "_ZG")):
            return full if parameters else _CLONES.sub("", full)
        return strip_signature(full)
    if name.startswith("_R") and _RUST_V0.match(name):
        return _demangle_rust_v0(name)
    return name


def is_mangled(name: bytes) -> bool:
    """Whether demangle() could have something to say about this name."""
    return name.startswith((b"_Z", b"_R"))


@functools.cache
def _cpp_runtime() -> Callable[[bytes], str | None] | None:
    for soname in _RUNTIMES:
        try:
            return _bind(ctypes.CDLL(soname))
        except (OSError, AttributeError):
            continue
    return None


def _bind(library: ctypes.CDLL) -> Callable[[bytes], str | None]:
    call = library.__cxa_demangle
    call.restype = ctypes.c_void_p
    call.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]

    def convert(name: bytes) -> str | None:
        pointer = call(name, None, None, None)
        if not pointer:
            return None
        try:
            return ctypes.string_at(pointer).decode("utf-8", "replace")
        finally:
            free(pointer)

    return convert


def _demangle_cpp(name: str) -> str:
    name = name.partition("@")[0]  # foo@@VERSION
    runtime = _cpp_runtime()
    plain = runtime(name.encode("utf-8", "surrogateescape")) if runtime else None
    if plain is None:
        import demangle as package  # slower, but reads some that the runtime does not

        plain = str(package.demangle(name, language="itanium", style="gnu"))
    return plain


def _demangle_rust_v0(name: str) -> str:
    import demangle as package  # 39 us a name, but few are shown

    plain = package.demangle(name.partition(".")[0], language="rust")
    return name if plain.startswith("_R") else str(plain)


def demangle_rust_legacy(name: str) -> str | None:
    """Path of a legacy Rust symbol without its hash; None when the lengths in it do not add up."""
    parts = []
    offset = 3
    while offset < len(name) and name[offset] != "E":
        start = offset
        while offset < len(name) and name[offset].isdecimal():
            offset += 1
        if start == offset or offset - start > 4:
            return None
        length = int(name[start:offset])
        parts.append(name[offset : offset + length])
        offset += length
    if offset >= len(name) or len(parts) < 2:
        return None
    return "::".join(_rust_identifier(part) for part in parts[:-1])


def _rust_identifier(text: str) -> str:
    if text.startswith("_$"):
        text = text[1:]
    return _ESCAPE.sub(_unescape, text)


def _unescape(found: re.Match[str]) -> str:
    if found[1]:
        return _RUST_ESCAPES[found[1]]
    if found[2]:
        code = int(found[2], 16)
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else found[0]
    return "::" if found[0] == ".." else "."


def strip_signature(full: str) -> str:
    """The qualified name within a demangled C++ function: no return type, parameters, qualifiers or clones.

    "void ns::f<int>(int, char) const [clone .cold]" -> "ns::f<int>"
    """
    text = _CLONES.sub("", full) if full.endswith("]") else full
    bare = text if text.endswith(")") else _QUALIFIERS.sub("", text)
    if not bare.endswith(")"):
        return text
    end = _opening(bare)
    if end <= 0:
        return text
    text = bare[:end]
    return text[_name_start(text) :]


def _opening(text: str) -> int:
    """Index of the parenthesis that the last character closes, -1 when it closes none."""
    depth, end = 0, len(text)
    while True:
        opening, closing = text.rfind("(", 0, end), text.rfind(")", 0, end)
        if closing > opening:
            depth, end = depth + 1, closing
        elif opening < 0 or depth <= 1:
            return opening
        else:
            depth, end = depth - 1, opening


def _name_start(text: str) -> int:
    """Where the function's name begins behind its return type: after the last blank outside all brackets."""
    start = depth = 0
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
        elif kind == "blank" and not depth:
            start = token.end()
        elif kind == "conversion" and not depth:
            break  # operator new, delete, or a conversion: all that follows is its name
    return start
