"""linscope bpf dump"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows


class Dump:
    """The subcommand; see linscope.contracts.Command."""

    summary = "instructions or machine code of a program that is in the kernel"
    examples = (
        "linscope bpf dump 42",
        "linscope bpf dump handle_exec --jited",
        "linscope bpf dump /sys/fs/bpf/filter --opcodes --no-source",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("program", metavar="PROGRAM", help="id, name, tag, or path where it is pinned")
        add("--jited", action="store_true", help="what the kernel's JIT made of it")
        add("--style", choices=("kernel", "llvm", "classic"), default="kernel", help="form of the text")
        add("--opcodes", action="store_true", help="show the bytes, too")
        add("--no-source", action="store_true", help="without lines of the source")

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Ask the kernel."""
        from linscope.views.bpf_dump import dumped_rows, machine_code_rows

        if arguments.jited:
            return machine_code_rows(arguments.program)
        return dumped_rows(
            arguments.program, arguments.style, opcodes=arguments.opcodes, source=not arguments.no_source
        )


DUMP = Dump()
