"""Addresses of Python's buffers, read-only ones too, without numpy."""

from __future__ import annotations

import ctypes

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # of Python 3.12; for readers


class _View(ctypes.Structure):
    """Py_buffer, Include/cpython/object.h."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


_get = ctypes.pythonapi.PyObject_GetBuffer
_get.argtypes = (ctypes.py_object, ctypes.POINTER(_View), ctypes.c_int)
_get.restype = ctypes.c_int
_release = ctypes.pythonapi.PyBuffer_Release
_release.argtypes = (ctypes.POINTER(_View),)
_release.restype = None


class Pinned:
    """A buffer that stays where it is while this is open (``with``): address, size in bytes, readonly."""

    def __init__(self, buffer: Buffer) -> None:
        """Raises BufferError or TypeError: it is no contiguous buffer."""
        self._view = _View()
        _get(buffer, ctypes.byref(self._view), 0)
        self.address = self._view.buf or 0
        self.size = self._view.len
        self.readonly = bool(self._view.readonly)

    def close(self) -> None:
        """Let go of it; closing twice does nothing."""
        _release(ctypes.byref(self._view))

    def __enter__(self) -> Pinned:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
