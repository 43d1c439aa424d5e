"""linscope bpf asm"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows


class Asm:
    """The subcommand; see linscope.contracts.Command."""

    summary = "assemble text into instructions"
    examples = (
        "linscope bpf asm filter.s",
        "linscope bpf asm filter.s -b filter.bin",
        "echo 'r0 = 1; exit' | tr ';' '\\n' | linscope bpf asm -",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", metavar="FILE", help="assembler in any form; - is standard input")
        parser.add_argument("-b", "--binary", metavar="FILE", help="write the instructions to FILE, as they are")

    def run(self, arguments: argparse.Namespace) -> Rows | None:
        """Assemble, and write or show."""
        from linscope.bpf.instructions import encode
        from linscope.bpf.source import read_programs

        programs = read_programs(arguments.file)
        if arguments.binary:
            from linscope.errors import OutputError

            try:
                with open(arguments.binary, "wb") as out:
                    out.writelines(encode(one.instructions) for one in programs)
            except OSError as error:
                raise OutputError("cannot write", where=arguments.binary, why=error.strerror or "") from None
            return None
        from linscope.views.bpf_code import instruction_rows

        return instruction_rows(programs, opcodes=True, source=False)


ASM = Asm()
