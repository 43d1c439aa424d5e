"""Cases of the bpf_conformance suite: files of sections, `-- asm` or `-- raw`, `-- mem`, `-- result`, `-- error`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from linscope.bpf.asm import assemble
from linscope.bpf.instructions import Instruction, decode

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT.parent / "shared" / "conformance" / "bpf"


class Case(NamedTuple):
    """One file of the suite."""

    name: str
    asm: str | None
    raw: bytes
    memory: bytes
    result: int | None
    error: str | None

    def instructions(self) -> list[Instruction]:
        """Raises what the assembler raises."""
        return decode(self.raw) if self.asm is None else assemble(self.asm)


def read_case(path: Path) -> Case:
    """The sections of a file; comments outside of assembler text are left out."""
    sections: dict[str, list[str]] = {}
    name = ""
    for line in path.read_text().splitlines():
        if line.startswith("-- "):
            name = line[3:].strip()
            sections[name] = []
        elif name:
            sections[name].append(line)

    def octets(section: str) -> bytes:
        words = " ".join(line.partition("#")[0] for line in sections.get(section, ())).split()
        return b"".join(int(w, 16).to_bytes(8 if w.startswith("0x") else 1, "little") for w in words)

    result = "".join(line.partition("#")[0] for line in sections.get("result", ())).strip()
    return Case(
        path.stem,
        "\n".join(sections["asm"]) if "asm" in sections else None,
        octets("raw"),
        octets("mem"),
        int(result, 0) & ((1 << 64) - 1) if result else None,
        "\n".join(sections["error"]) if "error" in sections else None,
    )


def cases(folder: str) -> list[Path]:
    """The files of "tests" or "negative"; none where the suite is not there."""
    return sorted((FOLDER / folder).glob("*.data"))
