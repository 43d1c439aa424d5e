"""linscope kdump load"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from linscope.kdump.load import LoadOptions


def add_capture_kernel(parser: argparse.ArgumentParser) -> None:
    """What the capture kernel is and does."""
    add = parser.add_argument
    add("--target", default="/var/crash", metavar="DIR", help="where dumps go (/var/crash)")
    add("-d", "--level", type=int, default=31, metavar="N", help="leave out, as makedumpfile -d (31)")
    add("-c", "--compression", default="zstd", choices=("zstd", "zlib", "lzo", "none"), help="of pages (zstd)")
    add("--makedumpfile", action="store_true", help="let makedumpfile write the dump")
    add("--then", default="reboot", choices=("reboot", "poweroff"), help="what follows the capture (reboot)")
    add("--kernel", default="", metavar="FILE", help="a bzImage (that of the running kernel)")
    add("--initrd", default="", metavar="FILE", help="an initramfs that captures by itself")
    add("--append", default="", metavar="WORDS", help="more for its command line")
    add("--command-line", default="", metavar="WORDS", help="its whole command line")


def options_of(arguments: argparse.Namespace) -> LoadOptions:
    """What the arguments say."""
    from linscope.kdump.load import LoadOptions

    return LoadOptions(**{name: getattr(arguments, name) for name in LoadOptions._fields})


class Load:
    """The subcommand; see linscope.contracts.Command."""

    summary = "load the kernel that captures the next crash, with its initramfs"
    examples = (
        "linscope kdump load",
        "linscope kdump load --target /srv/crash -d 17 -c zlib",
        "linscope kdump load --dry-run",
        "linscope kdump load --unload",
    )
    formats = False
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_capture_kernel(parser)
        parser.add_argument("--dry-run", action="store_true", help="say what would be loaded, and do not")
        parser.add_argument("--unload", action="store_true", help="forget what is loaded")

    def run(self, arguments: argparse.Namespace) -> None:
        """Do it."""
        from linscope.kdump.load import load, make_plan, unload
        from linscope.units import format_bytes

        if arguments.unload:
            unload()
            print("no capture kernel is loaded now")
            return
        plan = make_plan(options_of(arguments), lambda text: print(text, file=sys.stderr))
        worry = "" if arguments.dry_run else load(plan)
        if worry:
            print(f"linscope kdump: {worry}", file=sys.stderr)
        print(
            f"{'would load' if arguments.dry_run else 'loaded'} {plan.image.path} ({plan.image.release}), "
            f"an initramfs of {format_bytes(len(plan.initramfs))}, root: {plan.root}, dumps to {plan.target}"
        )
        if arguments.dry_run:
            print(f"command line: {plan.command_line}")


LOAD = Load()
