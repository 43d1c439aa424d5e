"""linscope bpf btf"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows

_KINDS = ("struct", "union", "enum", "typedef", "func", "var", "int", "float", "datasec", "fwd")


class BtfCommand:
    """The subcommand; see linscope.contracts.Command."""

    summary = "types as C, with offsets, sizes, holes and cache lines, as pahole has them"
    examples = (
        "linscope bpf btf struct task_struct",
        "linscope bpf btf func tcp_sendmsg vfs_read",
        "linscope bpf btf struct 'tcp_*'",
        "linscope bpf btf sk_buff --json --file vmlinux.o",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        text = f"a kind ({', '.join(_KINDS)}), then names, #ID, or globs; none: a list"
        parser.add_argument("names", nargs="*", metavar="NAME", help=text)
        parser.add_argument("--file", metavar="FILE", help="BTF, ELF file or kernel image; else the running kernel's")
        parser.add_argument("--module", metavar="NAME", help="also the types of this loaded module")
        parser.add_argument("--base", metavar="FILE", help="of split BTF in --file: the kernel's BTF")

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Find and show."""
        from linscope.binfmt.btf import VMLINUX, Btf
        from linscope.errors import NotInKernel
        from linscope.views.btf_types import type_rows

        names = list(arguments.names)
        kind = names.pop(0) if names and names[0] in _KINDS else ""
        try:
            if arguments.file:
                btf = Btf.open(arguments.file, Btf.open(arguments.base) if arguments.base else None)
            else:
                btf = Btf.open(VMLINUX)
                if arguments.module:
                    btf = Btf.open(f"{VMLINUX.rpartition('/')[0]}/{arguments.module}", btf)
        except FileNotFoundError as error:
            if arguments.file:
                raise
            option = "CONFIG_DEBUG_INFO_BTF_MODULES" if arguments.module else "CONFIG_DEBUG_INFO_BTF"
            what = f"no types: {error.filename} is not there"
            raise NotInKernel(what, why=f"a kernel with {option} has them", next_step="--file FILE") from None
        return type_rows(btf, names, kind)


BTF = BtfCommand()
