"""The first files of a guest: an initramfs with busybox, the modules it needs, and two scripts of ours.

Source of the archive's form: Documentation/driver-api/early-userspace/buffer-format.rst ("newc").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

# In the order of their dependencies; a kernel that has one built in has no such file.
MODULES = (
    "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_console",
    "virtio_blk", "qemu_fw_cfg", "fuse", "virtiofs", "netfs", "fscache", "9pnet", "9pnet_virtio", "9p", "overlay",
)  # fmt: skip
_FILE, _FOLDER, _DEVICE = 0o100000, 0o040000, 0o020000


def _entry(number: int, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One member: header, name, content, each padded to four bytes."""
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    head += bytes(-len(head) % 4)
    return head + content + bytes(-len(content) % 4)


def build_archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """An uncompressed newc archive.  files: path without leading slash -> (permission bits, content)."""
    folders = sorted({str(parent) for path in files for parent in Path(path).parents} - {"."})
    members = [(name, _FOLDER | 0o755, b"", (0, 0)) for name in folders]
    members += [(name, _FILE | mode, content, (0, 0)) for name, (mode, content) in files.items()]
    members += [("dev", _FOLDER | 0o755, b"", (0, 0)), ("dev/console", _DEVICE | 0o600, b"", (5, 1))]
    parts = [_entry(at, *member) for at, member in enumerate(members, 1)]
    return b"".join([*parts, _entry(0, "TRAILER!!!", 0)])


def unpack_module(content: bytes, packed: str) -> bytes:
    """The ELF file of a module.  packed: what its name ends with behind ".ko": "", ".xz", ".gz" or ".zst"."""
    if packed == ".xz":
        import lzma

        return lzma.decompress(content)
    if packed == ".gz":
        import zlib

        return zlib.decompress(content, 31)
    if packed == ".zst":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return content


def build_initramfs(
    busybox: Path, modules: Iterable[Path], *, init: bytes | None = None, agent: bytes | None = None
) -> bytes:
    """The archive for these modules, which /init inserts in the order given.  Raises OSError.

    init: the script of the first process; None: the lab's, which mounts the lab's root; agent: the script that runs in
    the root file system then; None: the one that takes the lab's commands.
    """
    here = Path(__file__).parent
    files: dict[str, tuple[int, bytes]] = {
        "bin/busybox": (0o755, busybox.read_bytes()),
        "init": (0o755, init or (here / "init.sh").read_bytes()),
        "agent": (0o755, agent or (here / "agent.sh").read_bytes()),
    }
    for at, path in enumerate(modules):
        name, _, packed = path.name.partition(".ko")
        files[f"modules/{at:02d}-{name}.ko"] = (0o644, unpack_module(path.read_bytes(), packed))
    return build_archive(files)
