"""Block devices: disks, their partitions, what they do.

Source: include/linux/blk_types.h (struct block_device, since v5.11 one for each partition), blkdev.h (struct gendisk),
part_stat.h, blk-mq.h, sbitmap.h; block/bdev.c (struct bdev_inode), block/genhd.c (major_names).
"""

from __future__ import annotations

from linscope.errors import FormatError, LinscopeError
from linscope.kernel.told import told
from linscope.target.walks import iter_list, iter_xarray

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

MINOR_BITS = 20
_BUCKETS = 255  # BLKDEV_MAJOR_HASH_SIZE
_MOST_REQUESTS = 1 << 20
_IN_FLIGHT = 1  # MQ_RQ_IN_FLIGHT
_OPERATION, _WRITE = 0xFF, 1  # REQ_OP_MASK; odd operations write


class BlockDevice(NamedTuple):
    """A disk or a partition."""

    device: int  # address of the block_device
    disk: int  # of its gendisk
    name: str  # "vda1"
    major: int
    minor: int
    partition: int  # its number, 0: the whole disk
    sectors: int
    cached_pages: int


class DiskWork(NamedTuple):
    """What a disk did and does."""

    reads_in_flight: int
    writes_in_flight: int
    reads: int  # done
    read_sectors: int
    writes: int
    written_sectors: int


def iter_block_devices(kernel: Kernel) -> Iterator[BlockDevice]:
    """All disks and partitions; what cannot be read is told in kernel.problems.  Raises MemoryFault."""
    types = kernel.types
    superblock = kernel.variable("blockdev_superblock")
    if not int(superblock):
        return
    head = superblock.s_inodes.address_
    assert head is not None
    inodes = iter_list(kernel, head, types.offset("struct inode", "i_sb_list"))
    for address in told(kernel, "inodes of block devices", inodes):
        try:
            inode = kernel.object("struct inode", address)
            device = inode.container_of_("struct bdev_inode", "vfs_inode").bdev
            if int(device.bd_disk):
                yield _block_device(device, inode)
        except LinscopeError as error:
            kernel.problems.append(f"block device of the inode at {address:#x}: {error}")


def _block_device(device: Object, inode: Object) -> BlockDevice:
    number = int(device.bd_dev)
    disk = device.bd_disk
    if device.space_.types.has_member("struct block_device", "bd_partno"):
        partition = int(device.bd_partno)
    else:  # since v6.10 (1116b9fa15c0) in the low byte
        partition = int(device.member_("__bd_flags").counter) & 0xFF
    name = disk.disk_name.string_()
    if partition:
        name += f"{'p' if name[-1:].isdigit() else ''}{partition}"
    return BlockDevice(
        device.address_ or 0, int(disk), name, number >> MINOR_BITS, number & (1 << MINOR_BITS) - 1, partition,
        int(device.bd_nr_sectors), int(inode.i_mapping.nrpages),
    )  # fmt: skip


def iter_block_majors(kernel: Kernel) -> Iterator[tuple[int, str]]:
    """(major, name) of the block drivers, as the kernel keeps them; what cannot be read is told in kernel.problems.

    Raises UnknownNameError.
    """
    yield from told(kernel, "block drivers", _iter_majors(kernel))


def _iter_majors(kernel: Kernel) -> Iterator[tuple[int, str]]:
    for pointer in kernel.elements("major_names", _BUCKETS):
        one = pointer
        seen: set[int] = set()
        while int(one):
            if int(one) in seen:
                raise FormatError(f"the names of block devices go in a circle at {int(one):#x}")
            seen.add(int(one))
            yield int(one.major), one.member_("name").string_()
            one = one.next


def disk_work(kernel: Kernel, disk: Object) -> DiskWork:
    """Requests of a disk (struct gendisk).  Raises FormatError, MemoryFault, UnknownNameError."""
    reads = writes = 0
    for request in iter_requests(kernel, disk.queue.deref_()):
        if int(request.cmd_flags) & _OPERATION & _WRITE:
            writes += 1
        else:
            reads += 1
    statistics = int(disk.part0.bd_stats)
    done = [0] * 4
    for cpu in kernel.cpus("possible"):
        one = kernel.object("struct disk_stats", kernel.per_cpu_address(statistics, cpu))
        parts = (one.ios[0], one.sectors[0], one.ios[1], one.sectors[1])
        done = [sum(pair) for pair in zip(done, map(int, parts), strict=True)]
    return DiskWork(reads, writes, *done)


def iter_requests(kernel: Kernel, queue: Object) -> Iterator[Object]:
    """The requests (struct request) that a queue's driver works on.  Raises FormatError, MemoryFault.

    Source: block/blk-mq-tag.c; the hardware queues are in an xarray since v6.0 (4e5cc99e1e48).
    """
    seen: set[int] = set()
    for context in _hardware_queues(kernel, queue):
        tags = context.tags
        if not int(tags) or int(tags) in seen:
            continue
        seen.add(int(tags))
        pointers = int(tags.rqs)
        for tag in _set_bits(tags.bitmap_tags):
            at = kernel.u64(pointers + 8 * tag)
            if at:
                request = kernel.object("struct request", at)
                if int(request.q) == queue.address_ and int(request.state) == _IN_FLIGHT:
                    yield request


def _hardware_queues(kernel: Kernel, queue: Object) -> Iterator[Object]:
    kind = "struct blk_mq_hw_ctx"
    if kernel.types.has_member("struct request_queue", "hctx_table"):
        for _, address in iter_xarray(kernel, int(queue.hctx_table.xa_head)):
            yield kernel.object(kind, address)
    elif int(queue.queue_hw_ctx):
        for place in range(int(queue.nr_hw_queues)):
            yield kernel.object(kind, int(queue.queue_hw_ctx[place]))


def _set_bits(bitmap: Object) -> Iterator[int]:
    """Numbers of the tags in use; of a struct sbitmap_queue or a pointer to one."""
    bits = bitmap.sb
    depth, shift = int(bits.depth), int(bits.shift)
    if depth > _MOST_REQUESTS or shift > 6:
        raise FormatError(f"a queue of {depth} tags, 2**{shift} a word, is damaged")
    for place in range(int(bits.map_nr)):
        word = bits.map[place]
        used = int(word.word) & ~int(word.cleared)
        yield from (
            number
            for bit in range(1 << shift)
            if used >> bit & 1 and (number := (place << shift) + bit) < depth
        )  # fmt: skip
