"""linscope bpf run"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows


class Run:
    """The subcommand; see linscope.contracts.Command."""

    summary = "run a program here: in machine code, interpreted, or in the kernel"
    examples = (
        "linscope bpf run filter.s --mem '00 01 02 03'",
        "linscope bpf run filter.bpf.o -p count --interpret",
        "linscope bpf run filter.s --record packet.bin --kernel --repeat 100000",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("file", metavar="FILE", help="assembler, object file, raw instructions or hexadecimal; - is standard input")
        add("-p", "--program", default="", metavar="NAME", help="only this program or section")
        add("--mem", metavar="HEX", help="the record that it runs over: r1 is its address, r2 its size")
        add("--record", metavar="FILE", help="the same, from a file")
        add("--repeat", type=int, default=0, metavar="N", help="runs for the measurement; 1: none; 0: enough (default)")
        add("--interpret", action="store_true", help="by the interpreter, not as machine code")
        add("--kernel", action="store_true", help="in the kernel (BPF_PROG_TEST_RUN)")
        add("--budget", type=int, default=100_000_000, metavar="N", help="instructions after which it is ended")

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Run and show."""
        from linscope.bpf.source import choose, read_programs
        from linscope.errors import UsageError
        from linscope.views.bpf_runs import kernel_run_rows, run_rows

        if arguments.mem is not None and arguments.record is not None:
            raise UsageError("--mem and --record are two records")
        try:
            record = bytes.fromhex(arguments.mem or "")
        except ValueError as error:
            raise UsageError("not hexadecimal digits in --mem", why=str(error), next_step="--mem '0a ff 00'") from None
        if arguments.record:
            with open(arguments.record, "rb") as file:
                record = file.read()
        programs = choose(read_programs(arguments.file), arguments.program, where=arguments.file)
        if arguments.kernel:
            return kernel_run_rows(programs, record, repeat=arguments.repeat)
        rows = run_rows(
            programs, record, interpret=arguments.interpret, repeat=arguments.repeat, budget=arguments.budget
        )
        for text in rows.notes:
            print(text, end="" if text.endswith("\n") else "\n", file=sys.stderr)
        return rows


RUN = Run()
