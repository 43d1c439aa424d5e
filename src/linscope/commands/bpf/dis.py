"""linscope bpf dis"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows


class Dis:
    """The subcommand; see linscope.contracts.Command."""

    summary = "show the instructions of objects, raw files, hexadecimal text"
    examples = (
        "linscope bpf dis filter.bpf.o",
        "linscope bpf dis filter.bpf.o -p count_calls --style llvm --no-source",
        "linscope bpf dis filter.bin --json",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("file", metavar="FILE", help="object file, raw instructions, hexadecimal or assembler; - is standard input")
        add("-p", "--program", default="", metavar="NAME", help="only this program or section")
        add("--style", choices=("kernel", "llvm", "classic"), default="kernel", help="form of the text")
        add("--opcodes", action="store_true", help="show the bytes, too")
        add("--no-source", action="store_true", help="without lines of the source")
        add("--fit", action="store_true", help="fit an object to the running kernel first, as it would be loaded")

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Read and show."""
        from linscope.bpf.source import choose, read_programs
        from linscope.views.bpf_code import instruction_rows

        target = None
        if arguments.fit:
            from linscope.bpf.kernel.running import RunningKernel

            target = RunningKernel()
        programs = choose(read_programs(arguments.file, target=target), arguments.program, where=arguments.file)
        return instruction_rows(
            programs, arguments.style, opcodes=arguments.opcodes, source=not arguments.no_source
        )


DIS = Dis()
