"""linscope kdump test"""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from linscope.kdump.trial import Step
    from linscope.picture.rows import Rows

_SHOWN = ("sys", "bt", "log | tail -n 12", "findings")


class Test:
    """The subcommand; see linscope.contracts.Command."""

    summary = "crash a guest of the lab, capture it, bring the dump here and look into it"
    examples = (
        "linscope kdump test",
        "linscope kdump test --kernel bzImage --reserve 192M -o crash.kdump",
        "linscope kdump test --makedumpfile -c zlib -d 17",
    )
    formats = False
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("--kernel", default="debian", metavar="WHICH", help="debian (default), lab, or the path of an image")
        add("--mem", default="1G", metavar="SIZE", help="memory of the guest (1G)")
        add("--reserve", default="256M", metavar="SIZE", help="of it, for the capture kernel (256M)")
        add("--append", default="", metavar="WORDS", help="more for the guest's command line")
        add("-d", "--level", type=int, default=31, metavar="N", help="leave out, as makedumpfile -d (31)")
        add("-c", "--compression", default="zstd", choices=("zstd", "zlib", "lzo", "none"), help="of pages (zstd)")
        add("--makedumpfile", action="store_true", help="let makedumpfile write the dump")
        add("--timeout", default="3m", metavar="TIME", help="for each step (3m)")
        add("-o", "--output", default="vmcore", metavar="FILE", help="keep the dump here; its log is FILE.log (vmcore)")

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; 0 when the dump can be read."""
        from linscope.crash.prompt import run_line
        from linscope.crash.session import Session
        from linscope.kdump.trial import TrialOptions, run_trial
        from linscope.render.rows import write_rows
        from linscope.target.kernel import open_kernel
        from linscope.units import parse_duration

        options = TrialOptions(
            kernel=arguments.kernel, memory=arguments.mem, reserve=arguments.reserve, level=arguments.level,
            compression=arguments.compression, makedumpfile=arguments.makedumpfile, append=arguments.append,
            output=arguments.output, timeout_s=parse_duration(arguments.timeout) / 1e9,
        )  # fmt: skip

        def say(step: Step) -> None:
            print(f"{step.name:<18} {step.duration_s:6.1f} s  {step.finding}", flush=True)

        def write(rows: Rows, out: IO[str]) -> None:
            write_rows(rows, "text", out)

        dump = run_trial(options, say)
        with open_kernel(str(dump)) as kernel:
            session = Session(kernel)
            codes = []
            for line in _SHOWN:
                print(f"\ncrash> {line}")
                sys.stdout.flush()
                codes.append(run_line(session, line, write))
        return max(codes)


TEST = Test()
