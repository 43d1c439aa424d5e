"""QEMU's machine protocol: stop a guest, write its memory to a file, let it go on.

Source: QEMU's docs/interop/qmp-spec.txt and qapi/dump.json.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from linscope.errors import LinscopeError

FORMATS = ("elf", "kdump-zlib", "kdump-lzo", "kdump-snappy")


class Qmp:
    """A connection to QEMU's control socket."""

    def __init__(self, path: str, timeout_s: float = 300) -> None:
        """Raises OSError."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        self._socket.connect(path)
        self._lines = self._socket.makefile("rb")
        self._read()  # the greeting
        self.execute("qmp_capabilities")

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """The result of one command.  Raises LinscopeError with QEMU's words."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = self._read()
            if "error" in answer:
                raise LinscopeError(f"QEMU refused {command}", why=answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise LinscopeError("QEMU has closed its control socket")
        answer: dict[str, Any] = json.loads(line)
        return answer


def dump_memory(qmp_path: str, target: str, form: str) -> None:
    """Write the guest's memory to a file while it stands still.  Raises LinscopeError.

    form: one of FORMATS; kdump forms are makedumpfile's flattened form.
    """
    arguments: dict[str, Any] = {"paging": False, "protocol": f"file:{target}"}
    if form != "elf":
        arguments["format"] = form
    with Qmp(qmp_path) as qmp:
        qmp.execute("stop")
        try:
            qmp.execute("dump-guest-memory", **arguments)
        finally:
            qmp.execute("cont")
