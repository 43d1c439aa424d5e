"""linscope bpf verify"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows


class Verify:
    """The subcommand; see linscope.contracts.Command."""

    summary = "would the kernel take a program, and if not: where, why, and what to do"
    examples = (
        "linscope bpf verify filter.s",
        "linscope bpf verify filter.bpf.o -p count_calls --kernel",
        "linscope bpf verify filter.s --unprivileged --json",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("file", metavar="FILE", help="assembler, object file, raw instructions or hexadecimal; - is standard input")
        add("-p", "--program", default="", metavar="NAME", help="only this program or section")
        add("-t", "--type", metavar="TYPE", help="program type where the file says none: xdp, kprobe ...")
        add("--kernel", action="store_true", help="ask the running kernel, too, and show both")
        add("--unprivileged", action="store_true", help="as for a user without CAP_BPF")
        add("--btf", metavar="FILE", help="types of the kernel that it is for; else the running one's")

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Check and show."""
        from linscope.binfmt.btf import Btf
        from linscope.bpf.kernel.running import RunningKernel
        from linscope.bpf.names import PROGRAM_TYPES
        from linscope.bpf.source import choose, read_programs
        from linscope.errors import UnknownNameError
        from linscope.views.bpf_verdicts import verdict_rows

        kernel = RunningKernel()
        programs = choose(read_programs(arguments.file, target=kernel), arguments.program, where=arguments.file)
        if arguments.type is not None:
            if arguments.type not in PROGRAM_TYPES:
                raise UnknownNameError("type of program", arguments.type, PROGRAM_TYPES)
            for program in programs:
                program.type = PROGRAM_TYPES[arguments.type]
        return verdict_rows(
            programs,
            privileged=not arguments.unprivileged,
            kernel_btf=Btf.open(arguments.btf) if arguments.btf else kernel.btf,
            ask_kernel=arguments.kernel,
        )


VERIFY = Verify()
