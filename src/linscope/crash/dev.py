"""dev: character and block devices, ports, PCI, requests of disks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.errors import LinscopeError
from linscope.kernel.block import disk_work, iter_block_devices, iter_block_majors
from linscope.kernel.char_devices import iter_char_devices
from linscope.kernel.resources import PciDevice, iter_pci_buses, iter_resources
from linscope.picture.rows import Column, Rows


class Dev:
    """Devices."""

    usage = "[-i | -p | -d | -D]"
    help = """\
Shows character and block devices with what opens them.

  -i   ports and physical addresses, and who has them        -p   PCI devices
  -d   requests that disks work on now; as data also what they did     -D   only disks that work on some"""
    examples = ("dev", "dev -i", "dev -d")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's dev."""
        what = parser.add_mutually_exclusive_group()
        for letter, name in (("i", "ports"), ("p", "pci"), ("d", "disks"), ("D", "busy")):
            what.add_argument(f"-{letter}", dest=name, action="store_true")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """Some tables."""
        if arguments.ports:
            yield _rows_of_resources(session, "ioport_resource", 4)
            yield _rows_of_resources(session, "iomem_resource", 8)
        elif arguments.pci:
            yield from _rows_of_pci(session)
        elif arguments.disks or arguments.busy:
            yield _rows_of_disks(session, arguments.busy)
        else:
            yield _rows_of_char_devices(session)
            yield _rows_of_block_devices(session)


def _operations(session: Session, address: int) -> str:
    place = session.kernel.place_of(address) if address else None
    return "" if not address else f"{address:x}" if place is None or place.offset else place.symbol


def _line(major: int, name: str, address: int, operations: str) -> str:
    where = f"{address:016x}" if address else f"{'(none)':^16}"
    return f"{major:4}      {name:<11}    {where}  {operations}".rstrip() + "\n"


def _rows_of_char_devices(session: Session) -> Rows:
    found = [(*one[:5], _operations(session, one.operations)) for one in iter_char_devices(session.kernel)]

    def lines() -> Iterator[str]:
        yield "CHRDEV    NAME                 CDEV        OPERATIONS\n"
        for major, _, _, name, cdev, operations in found:
            yield _line(major, name, cdev, operations)
        yield "\n"

    columns = [
        Column("major"), Column("first_minor"), Column("minors"), Column("name"), Column("cdev", value=hex),
        Column("operations"),
    ]  # fmt: skip
    return Rows(columns, found, text=lines)


def _rows_of_block_devices(session: Session) -> Rows:
    """A row a disk; for drivers without one the driver."""
    kernel = session.kernel
    disks = [one for one in iter_block_devices(kernel) if not one.partition]
    rows: list[tuple[int, str, int, str, str, int]] = []
    for major, name in iter_block_majors(kernel):
        own = sorted((one for one in disks if one.major == major), key=lambda one: one.minor)
        if not own:
            rows.append((major, name, 0, "", "", 0))
        for one in own:
            try:
                operations = int(kernel.object("struct gendisk", one.disk).fops)
            except LinscopeError as error:
                session.problems.append(f"disk at {one.disk:#x}: {error}")
                operations = 0
            rows.append((major, name, one.disk, _operations(session, operations), one.name, one.sectors))

    def lines() -> Iterator[str]:
        yield "BLKDEV    NAME                GENDISK      OPERATIONS\n"
        for major, name, disk, operations, _, _ in rows:
            yield _line(major, name, disk, operations)

    columns = [
        Column("major"), Column("name"), Column("gendisk", value=hex), Column("operations"), Column("disk"),
        Column("sectors"),
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


def _rows_of_resources(session: Session, variable: str, digits: int) -> Rows:
    found = list(iter_resources(session.kernel, variable))

    def lines() -> Iterator[str]:
        yield "    RESOURCE        RANGE    NAME\n" if digits == 4 else "    RESOURCE            RANGE        NAME\n"
        for one in found:
            yield f"{one.resource:016x}  {one.start:0{digits}x}-{one.end:0{digits}x}  {one.name}\n"
        yield "\n" if digits == 4 else ""

    columns = [
        Column("resource", value=hex), Column("start", value=hex), Column("end", value=hex), Column("name"),
        Column("depth"),
    ]  # fmt: skip
    return Rows(columns, found, text=lines)


def _rows_of_pci(session: Session) -> Iterator[Rows]:
    for bus, devices in iter_pci_buses(session.kernel):
        yield _rows_of_bus(bus.address_ or 0, bus.dev.kobj.member_("name").string_(64), not int(bus.parent), devices)


def _rows_of_bus(address: int, name: str, is_root: bool, devices: list[PciDevice]) -> Rows:
    def lines() -> Iterator[str]:
        yield f"{'    ROOT BUS' if is_root else '     PCI BUS'}     BUSNAME\n"
        yield f"{address:016x} {name}\n"
        yield "      PCI DEV      DO:BU:SL.FN  CLASS   PCI_ID      TYPE\n"
        for one in devices:
            identity = f"{one.vendor:04x}:{one.product:04x}"
            yield f"  {one.device:016x} {one.name}  {one.class_code:04x}  {identity}  {one.kind}\n"
        yield "\n"

    columns = [
        Column("bus", value=hex), Column("device", value=hex), Column("name"), Column("class", value=hex),
        Column("vendor", value=hex), Column("product", value=hex), Column("type"),
    ]  # fmt: skip
    rows = [
        (address, one.device, one.name, one.class_code, one.vendor, one.product, one.kind) for one in devices
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


def _rows_of_disks(session: Session, busy: bool) -> Rows:
    """Disks that have a size: a loop device without a file does nothing."""
    kernel = session.kernel
    rows = []
    for one in iter_block_devices(kernel):
        if one.partition or not one.sectors:
            continue
        try:
            disk = kernel.object("struct gendisk", one.disk)
            work = disk_work(kernel, disk)
            if not busy or work.reads_in_flight or work.writes_in_flight:
                rows.append((one.major, one.disk, one.name, int(disk.queue), *work))
        except LinscopeError as error:
            session.problems.append(f"disk {one.name} at {one.disk:#x}: {error}")

    def lines() -> Iterator[str]:
        yield "MAJOR GENDISK            NAME       REQUEST_QUEUE      TOTAL  READ WRITE\n"
        for row in rows:
            reads, writes = row[4:6]
            yield f"{row[0]:5} {row[1]:016x}   {row[2]:<10} {row[3]:016x} {reads + writes:7} {reads:5} {writes:5}\n"

    columns = [
        Column("major"), Column("gendisk", value=hex), Column("name"), Column("request_queue", value=hex),
        Column("reads_in_flight"), Column("writes_in_flight"), Column("reads"), Column("read_sectors"),
        Column("writes"), Column("written_sectors"),
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


DEV = Dev()
