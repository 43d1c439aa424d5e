"""The commands of crash that look into memory, over a dump of a guest, beside what its own /proc said just before."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from linscope.crash.session import Session
from linscope.lab.guest import Guest, GuestOptions
from linscope.render.rows import write_rows
from linscope.target.kernel import open_kernel

pytestmark = pytest.mark.kernel
PRESENT, SWAPPED, FRAME = 1 << 63, 1 << 62, (1 << 55) - 1  # Documentation/admin-guide/mm/pagemap.rst


class Dumped(NamedTuple):
    """A dump, and the truth about it."""

    session: Session
    truth: dict[str, Any]
    live: list[dict[str, Any]]  # what vm -p said inside of the guest, of /proc/kcore

    def ask(self, line: str) -> list[dict[str, Any]]:
        out = io.StringIO()
        for rows in self.session.run(line):
            write_rows(rows, "json", out)
        return [json.loads(text) for text in out.getvalue().splitlines()]

    @property
    def pid(self) -> int:
        return int(self.truth["pid"])


@pytest.fixture(scope="module")
def dumped(qemu: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dumped]:
    folder = tmp_path_factory.mktemp("memory")
    disk, dump = folder / "disk", folder / "vmcore"
    disk.write_bytes(b"")
    with disk.open("r+b") as file:
        file.truncate(16 << 20)
    with Guest(GuestOptions(memory="384M", disk=str(disk)), say=print) as guest:
        result = guest.run([sys.executable, str(Path(__file__).with_name("memory_guest.py"))], timeout_s=120)
        assert result.exit_code == 0, result
        truth = json.loads(result.stdout)
        crash = [sys.executable, "-m", "linscope", "crash", "/proc/kcore", "--json", "-c", f"vm -p {truth['pid']}"]
        live = guest.run(crash, timeout_s=120)
        assert live.exit_code == 0, live
        truth["meminfo"] = guest.run("cat /proc/meminfo").stdout  # of now
        guest.dump(str(dump), "kdump-zlib")
    with open_kernel(str(dump)) as kernel:
        yield Dumped(Session(kernel), truth, [json.loads(line) for line in live.stdout.splitlines()])


def test_areas_are_those_of_maps(dumped: Dumped) -> None:
    wanted = []
    for line in dumped.truth["maps"].splitlines():
        place, rights, offset, _, _, *name = line.split(None, 5)
        if name != ["[vsyscall]"]:
            start, end = (int(part, 16) for part in place.split("-"))
            wanted.append((start, end, rights, int(offset, 16), name[0].strip() if name else ""))
    found = [row for row in dumped.ask(f"vm {dumped.pid}") if "vma" in row]
    assert [
        (
            int(row["start"], 16), int(row["end"], 16), rights_of(int(row["flags"], 16)), row["file_offset"],
            row["name"],
        )
        for row in found
    ] == wanted  # fmt: skip


def rights_of(flags: int) -> str:
    letters = "".join(letter if flags >> bit & 1 else "-" for bit, letter in enumerate("rwx"))
    return letters + ("s" if flags >> 7 & 1 else "p")  # VM_MAYSHARE


def test_pages_are_where_pagemap_has_them(dumped: Dumped) -> None:
    wanted = {int(address): value for address, value in dumped.truth["pagemap"].items()}
    swapped = guarded = 0
    areas = [row for row in dumped.ask(f"vm {dumped.pid}") if "vma" in row]
    frames_only = {row["vma"] for row in areas if int(row["flags"], 16) & 0x400}  # VM_PFNMAP: pagemap leaves them out
    for row in dumped.ask(f"vm -p {dumped.pid}"):
        if "virtual" not in row:
            continue
        address = int(row["virtual"], 16)
        value = wanted.pop(address)
        if row["vma"] in frames_only:
            continue
        physical = None if row["physical"] is None else int(row["physical"], 16)
        assert physical == ((value & FRAME) << 12 if value & PRESENT else None), hex(address)
        page = (value & FRAME) >> 5 if value & SWAPPED else None
        assert row["swap_page"] == page and row["swap_device"] == (None if page is None else "/dev/vda"), hex(address)
        swapped += page is not None
        guarded += address == dumped.truth["guarded"] and physical is not None
    assert not wanted and swapped == 16 and guarded == 1


def test_the_running_kernel_says_the_same_as_its_dump(dumped: Dumped) -> None:
    assert dumped.live == dumped.ask(f"vm -p {dumped.pid}")


def test_the_way_to_a_page(dumped: Dumped) -> None:
    start = dumped.truth["pages"]
    value = dumped.truth["pagemap"][str(start + 20 * 4096)]
    rows = dumped.ask(f"vtop -c {dumped.pid} {start + 20 * 4096 + 5:x}")
    assert rows[0]["physical"] == hex(((value & FRAME) << 12) + 5)
    assert {row["path"] for row in rows if "vma" in row} == {""}
    assert any("swapbacked" in row["flag_names"] for row in rows if "flag_names" in row)
    assert dumped.ask(f"vtop -c {dumped.pid} {start:x}")[0]["why"].endswith("swapped out to area 0, page 0x1")


def test_memory_is_searched(dumped: Dumped) -> None:
    """Only what is in memory: the first half is paged out."""
    dumped.ask(f"set {dumped.pid}")
    start = dumped.truth["pages"]
    found = dumped.ask(f"search -u -s {start:x} -l 20000 -c 'page of test'")
    assert [int(row["address"], 16) for row in found] == [start + place * 4096 for place in range(16, 32)]
    assert found[0]["value"].startswith("page of test 016.")
    physical = {row["address"] for row in dumped.ask("search -p -c 'page of test 031'")}
    assert hex((dumped.truth["pagemap"][str(start + 31 * 4096)] & FRAME) << 12) in physical


def test_files_are_those_of_proc(dumped: Dumped) -> None:
    found = {str(row["fd"]): row["path"] for row in dumped.ask(f"files {dumped.pid}") if "fd" in row}
    assert found == dumped.truth["fds"]
    assert {"/memfd:mem fd (deleted)", "anon_inode:[eventpoll]", "/tmp/gone (deleted)"} <= set(found.values())
    places = next(row for row in dumped.ask(f"files {dumped.pid}") if "root" in row)
    assert (places["root"], places["working_directory"]) == ("/", "/usr/share")


def test_mounts_are_those_of_proc(dumped: Dumped) -> None:
    wanted = []
    for line in dumped.truth["mountinfo"].splitlines():
        before, _, behind = line.partition(" - ")
        kind, device = behind.split()[:2]
        wanted.append((kind, device.replace("\\040", " "), before.split()[4].replace("\\040", " ")))
    found = [(row["type"], row["device"], row["directory"]) for row in dumped.ask(f"mount -n {dumped.pid}")]
    assert set(wanted) <= set(found)  # /proc leaves out what is hidden beneath the root
    assert ("tmpfs", "my tmp", "/tmp/bind") in found


def test_sockets(dumped: Dumped) -> None:
    rows = [row for row in dumped.ask(f"net -s {dumped.pid}") if "socket" in row]
    ports = {row["source"].rpartition("-")[2] for row in rows if row["family"] == "INET" and row["type"] == "STREAM"}
    table = {line.split()[9]: line.split() for line in dumped.truth["net/tcp"].splitlines()[1:]}
    for row in rows:
        if row["family"] == "INET" and row["type"] == "STREAM":
            line = table[str(row["inode"])]
            ends = [f"127.0.0.1-{int(end.split(':')[1], 16)}" for end in line[1:3]]
            assert row["source"] == ends[0]
            assert row["destination"] == (ends[1] if ends[1] != "127.0.0.1-0" else "0.0.0.0-0")
            assert row["state"] == {"0A": "LISTEN", "01": "ESTABLISHED"}[line[3]]
    assert "7777" in ports and len(ports) == 2
    others = {(row["family"], row["type"], row["source"]) for row in rows if row["family"] != "INET"}
    assert others == {
        ("INET6", "STREAM", "::1-7778"), ("UNIX", "STREAM", "/tmp/mnt a/sock"), ("UNIX", "STREAM", "@hidden"),
        ("NETLINK/ROUTE", "RAW", ""),
    }  # fmt: skip


def test_interfaces_and_neighbors(dumped: Dumped) -> None:
    found = {row["name"]: row for row in dumped.ask("net")}
    assert found["lo"]["addresses"] == ["127.0.0.1/8", "::1/128"]
    assert found["dum0"]["addresses"][:2] == ["10.7.0.1/24", "fd00:7::1/64"] and found["dum0"]["up"]
    neighbors = {row["address"]: (row["hardware_address"], row["state"]) for row in dumped.ask("net -a")}
    assert neighbors["10.7.0.9"] == ("02:00:00:00:00:09", "PERMANENT")
    assert neighbors["fd00:7::9"] == ("02:00:00:00:00:69", "PERMANENT")


def test_ipc_is_that_of_proc(dumped: Dumped) -> None:
    def wanted(name: str, *columns: int) -> list[tuple[int, ...]]:
        return [tuple(int(line.split()[at]) for at in columns) for line in dumped.truth[name].splitlines()[1:]]

    rows = dumped.ask(f"ipcs -n {dumped.pid}")

    def found(owner: str, *names: str) -> list[tuple[int, ...]]:
        return [
            (int(row["key"], 16), row["id"], int(row["perms"]), *(row[name] for name in names))
            for row in rows
            if owner in row
        ]  # fmt: skip

    # key, id, perms, then what the file has: shm 3 size 6 nattch; sem 3 nsems; msg 3 cbytes 4 qnum
    assert found("shmid_kernel", "size_bytes", "attached") == wanted("sysvipc/shm", 0, 1, 2, 3, 6)
    assert found("sem_array", "semaphores") == wanted("sysvipc/sem", 0, 1, 2, 3)
    assert found("msg_queue", "used_bytes", "messages") == wanted("sysvipc/msg", 0, 1, 2, 3, 4)
    resident = [row["resident_pages"] * 4096 for row in rows if "shmid_kernel" in row]
    assert resident == [line[0] for line in wanted("sysvipc/shm", 14)]


def test_devices_and_resources_are_those_of_proc(dumped: Dumped) -> None:
    characters, blocks = dumped.truth["devices"].split("\n\n")
    rows = dumped.ask("dev")
    for text, column in ((characters, "cdev"), (blocks, "gendisk")):
        wanted = {tuple(line.split(None, 1)) for line in text.splitlines()[1:]}
        assert {(str(row["major"]), row["name"]) for row in rows if column in row} == wanted
    listed = [line.strip() for name in ("ioports", "iomem") for line in dumped.truth[name].splitlines()]
    found = [row for row in dumped.ask("dev -i") if row["depth"]]
    assert [(int(row["start"], 16), int(row["end"], 16), row["name"]) for row in found] == [
        (*(int(part, 16) for part in line.partition(" : ")[0].split("-")), line.partition(" : ")[2]) for line in listed
    ]  # fmt: skip


def test_disks_and_swap_are_those_of_proc(dumped: Dumped) -> None:
    line = next(line.split() for line in dumped.truth["diskstats"].splitlines() if " vda " in line)
    disk = next(row for row in dumped.ask("dev -d") if row["name"] == "vda")
    assert [disk[name] for name in ("reads", "read_sectors", "writes", "written_sectors")] == [
        int(line[at]) for at in (3, 5, 7, 9)
    ]
    swap = dumped.truth["swaps"].splitlines()[1].split()
    (area,) = dumped.ask("swap")
    assert [area["path"], area["type"].lower(), area["size_kb"], area["used_kb"], area["priority"]] == [
        swap[0], swap[1], *map(int, swap[2:])
    ]  # fmt: skip


def test_use_of_memory_is_that_of_meminfo(dumped: Dumped) -> None:
    wanted = {name: int(kb) // 4 for name, kb in re.findall(r"(\w+): +(\d+) kB", dumped.truth["meminfo"])}
    found = {row["name"]: row["pages"] for row in dumped.ask("kmem -i")}
    assert found["TOTAL MEM"] == wanted["MemTotal"]
    assert (found["TOTAL SWAP"], found["SWAP FREE"]) == (wanted["SwapTotal"], wanted["SwapFree"])
    assert found["COMMIT LIMIT"] == wanted["CommitLimit"]
    assert found["TOTAL HUGE"] == wanted["Hugetlb"] == 2 * 512
    # what goes on while /proc is read
    for name, other in (("FREE", "MemFree"), ("SLAB", "Slab"), ("CACHED", "Cached")):
        assert abs(found[name] - wanted[other]) < 0.1 * wanted[other] + 200, name


def test_slabs_are_those_of_slabinfo(dumped: Dumped) -> None:
    wanted = {line.split()[0]: line.split() for line in dumped.truth["slabinfo"].splitlines()[2:]}
    found = {row["name"]: row for row in dumped.ask("kmem -s")}
    assert set(found) == set(wanted)
    for name in ("task_struct", "sighand_cache", "TCP", "kmalloc-8k", "shmem_inode_cache"):
        assert found[name]["total"] == int(wanted[name][2]), name
        assert found[name]["slabs"] == int(wanted[name][14]), name
    objects = dumped.ask("kmem -S task_struct")
    assert not dumped.session.problems
    task = dumped.session.find_tasks([str(dumped.pid)])[0].address_
    (one,) = dumped.ask(f"kmem -s {task:x}")
    assert (one["cache"], one["object"], one["free"]) == ("task_struct", hex(task or 0), False)
    listed = [row for row in objects if row.get("object")]
    assert len({row["object"] for row in listed}) == len(listed)
