"""linscope kdump capture"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


class Capture:
    """The subcommand; see linscope.contracts.Command."""

    summary = "write a filtered, compressed dump of what crashed, or of any other memory"
    examples = (
        "linscope kdump capture",
        "linscope kdump capture vmcore -o small.kdump -d 31 -c zlib",
        "linscope kdump capture /proc/vmcore --target /mnt --makedumpfile",
    )
    formats = False
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("source", nargs="?", default="/proc/vmcore", metavar="FILE", help="memory, in any form (/proc/vmcore)")
        add("--target", default="/var/crash", metavar="DIR", help="make a folder here: vmcore, dmesg.txt (/var/crash)")
        add("-o", "--output", default="", metavar="FILE", help="write just the dump, to FILE")
        levels = "leave out, the sum of: 1 zero, 2 cache, 4 private cache, 8 user, 16 free (31)"
        add("-d", "--level", type=int, default=31, metavar="N", help=levels)
        add("-c", "--compression", default="zstd", choices=("zstd", "zlib", "lzo", "none"), help="of pages (zstd)")
        add("--threads", type=int, default=0, metavar="N", help="of zstd (one a CPU)")
        add("--makedumpfile", action="store_true", help="let makedumpfile write the dump")

    def run(self, arguments: argparse.Namespace) -> None:
        """Do it."""
        import os

        from linscope.commands._progress import progress_bar
        from linscope.kdump.capture import capture, describe
        from linscope.memory.kdump_writer import WriteOptions

        def say(text: str) -> None:
            print(f"linscope kdump: {text}", file=sys.stderr)

        threads = arguments.threads or len(os.sched_getaffinity(0))
        with progress_bar("writing the dump") as tell:
            options = WriteOptions(
                arguments.level, arguments.compression, threads, lambda done, total: tell(done / max(total, 1))
            )
            done = capture(
                arguments.source, arguments.target, options, output=arguments.output,
                makedumpfile=arguments.makedumpfile, say=say,
            )  # fmt: skip
        print(describe(done))


CAPTURE = Capture()
