"""net: interfaces, neighbors, sockets of tasks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.command import rows_of_text
from linscope.crash.session import Session, parse_hex
from linscope.crash.struct import rows_of_object
from linscope.crash.task import head_of
from linscope.errors import UsageError
from linscope.kernel.net import format_ip, iter_interfaces, iter_neighbors, net_namespace
from linscope.kernel.sockets import SocketFacts, iter_sockets
from linscope.kernel.task import task_cpu
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object


class Net:
    """Networking."""

    usage = "[-s | -S] [-R REFERENCE] [-x | -d] [-a] [-n [PID | TASK]] [-N ADDRESS] [PID | TASK]..."
    help = """\
Shows the network interfaces and their addresses.

  -a   neighbors: the ARP and ND tables         -n [PID]   interfaces as a task sees them, the session's without PID
  -s   sockets of tasks                         -S   with their structs; -x, -d: numbers to the base 16 or 10
  -R   only the socket of this number or address     -N ADDRESS   a number as an IPv4 address"""
    examples = ("net", "net -s 1", "foreach net -s", "net -a")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's net."""
        for letter, name in (("s", "sockets"), ("S", "structs"), ("a", "neighbors")):
            parser.add_argument(f"-{letter}", dest=name, action="store_true")
        parser.add_argument("-n", dest="namespace", nargs="?", const="")
        parser.add_argument("-N", dest="number")
        parser.add_argument("-R", dest="reference", default="")
        parser.add_argument("-x", dest="base", action="store_const", const=16, default=10)
        parser.add_argument("-d", dest="base", action="store_const", const=10)
        parser.add_argument("tasks", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """Some tables."""
        kernel = session.kernel
        if arguments.number is not None:
            yield _rows_of_number(arguments.number)
        elif arguments.neighbors:
            yield _rows_of_neighbors(session)
        elif arguments.sockets or arguments.structs:
            for task in session.find_tasks(arguments.tasks) if arguments.tasks else [session.task]:
                yield from _rows_of_task(session, task, arguments)
        elif arguments.tasks:
            raise UsageError("tasks have sockets (-s, -S) and a namespace (-n)", next_step="help net")
        elif arguments.namespace is None:
            yield _rows_of_interfaces(session, kernel.variable("init_net"))
        else:
            task = session.find_tasks([arguments.namespace])[0] if arguments.namespace else session.task
            yield _rows_of_interfaces(session, net_namespace(kernel, task))


def _rows_of_interfaces(session: Session, namespace: Object) -> Rows:
    found = list(iter_interfaces(session.kernel, namespace))
    width = max((len(one.name) for one in found), default=0)

    def lines() -> Iterator[str]:
        yield f"   NET_DEVICE     {'NAME':<{max(width, 6)}} IP ADDRESS(ES)\n"
        for one in found:
            addresses = ", ".join(address.partition("/")[0] for address in one.addresses)
            yield f"{one.device:016x}  {one.name:<{max(width, 6)}} {addresses}".rstrip() + "\n"

    columns = [
        Column("net_device", value=hex), Column("name"), Column("index"), Column("addresses", value=list),
        Column("hardware_address"), Column("up"), Column("mtu"),
    ]  # fmt: skip
    return Rows(columns, found, text=lines)


def _rows_of_neighbors(session: Session) -> Rows:
    kernel = session.kernel
    tables = [name for name in ("arp_tbl", "nd_tbl") if kernel.find_symbol(name) is not None]
    found = [one for name in tables for one in iter_neighbors(kernel, name)]
    width = max((len(one.address) for one in found), default=0)

    def lines() -> Iterator[str]:
        yield f"NEIGHBOUR        {'IP ADDRESS':<{max(width, 15)}} HW TYPE    HW ADDRESS         DEVICE  STATE\n"
        for one in found:
            yield (
                f"{one.neighbor:016x} {one.address:<{max(width, 15)}} {one.hardware:<10} {one.hardware_address:<18}"
                f" {one.device:<7} {one.state}\n"
            )

    columns = [
        Column("neighbour", value=hex), Column("address"), Column("hardware"), Column("hardware_address"),
        Column("device"), Column("state"),
    ]  # fmt: skip
    return Rows(columns, found, text=lines)


def _rows_of_task(session: Session, task: Object, arguments: argparse.Namespace) -> Iterator[Rows]:
    reference = arguments.reference
    found = [one for one in iter_sockets(session.kernel, task) if not reference or _is_meant(one, reference)]
    if reference and not found:
        return
    pid = int(task.pid)
    yield head_of(pid, task.address_ or 0, task_cpu(task), task.comm.string_())
    if not found:
        yield rows_of_text("No open sockets.\n")
    elif not arguments.structs:
        yield _rows_of_sockets(pid, found)
    else:
        for one in found:
            yield rows_of_text(f"FD      SOCKET            SOCK\n{one.fd:2} {one.socket:016x} {one.sock:016x}\n\n")
            for kind, address in (("struct socket", one.socket), ("struct sock", one.sock)):
                if address:
                    yield rows_of_object(session, session.kernel.object(kind, address), [], arguments.base)
    yield rows_of_text("\n")


def _is_meant(one: SocketFacts, reference: str) -> bool:
    if reference.isdigit() and int(reference) == one.fd:
        return True
    return parse_hex(reference) in (one.socket, one.sock)


def _rows_of_sockets(pid: int, found: list[SocketFacts]) -> Rows:
    def lines() -> Iterator[str]:
        yield "FD      SOCKET            SOCK       FAMILY:TYPE SOURCE-PORT DESTINATION-PORT\n"
        for one in found:
            ends = f"{one.source} {one.destination}".rstrip()
            yield f"{one.fd:2} {one.socket:016x} {one.sock:016x} {one.family}:{one.kind} {ends}".rstrip() + "\n"

    columns = [
        Column("pid"), Column("fd"), Column("socket", value=hex), Column("sock", value=hex), Column("family"),
        Column("type"), Column("source"), Column("destination"), Column("state"), Column("inode"),
    ]  # fmt: skip
    return Rows(columns, [(pid, *one) for one in found], text=lines)


def _rows_of_number(text: str) -> Rows:
    """A number as it lies in memory: its lowest byte is the first of the address."""
    number = int(text) if text.isdigit() else parse_hex(text)
    if number is None or number >> 32:
        raise UsageError(f"{text!r} is no number of 32 bits")
    address = format_ip(number.to_bytes(4, "little"))
    return Rows([Column("number"), Column("address")], [(number, address)], text=lambda: iter((address + "\n",)))


NET = Net()
