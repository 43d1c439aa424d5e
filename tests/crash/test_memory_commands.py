"""vm, vtop, ptov, pte, kmem, search over the shared dump, beside what crash 8.0.2 said of it with the kernel's vmlinux
(answers_of_crash_memory.txt), and drgn 0.3.0 where crash gives up: areas of address spaces in a maple tree.
"""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from peer_answers import Ask, answers, words

from linscope.errors import UsageError

ANSWERS = answers("answers_of_crash_memory.txt")
PAGES = "PAGE PHYSICAL MAPPING INDEX CNT FLAGS"


# what crash has wrong, and we otherwise: see below
DIFFERENT = {"kmem -i", "kmem -f", 'search -c "Linux version 6"', "search -t ffff8e95811fb000"}


@pytest.mark.parametrize("line", [line for line in ANSWERS if line not in DIFFERENT])
def test_the_same_as_crash(ask: Ask, line: str) -> None:
    """crash shows the heading of struct pages once a session."""
    ours, theirs = ([one for one in lines if one != PAGES] for lines in (words(ask(line)), ANSWERS[line]))
    assert ours == theirs


# drgn: for_each_vma(find_task(prog, 105).mm), with d_path of vm_file
AREAS_OF_105 = """\
ffff8e959ff818e8 400000 401000 8000071 /bin/busybox
ffff8e959ff81980 401000 585000 8000075 /bin/busybox
ffff8e959ff812f8 585000 5db000 8000071 /bin/busybox
ffff8e959ff81428 5db000 5e2000 8100071 /bin/busybox
ffff8e959ff811c8 5e2000 5e5000 8100073 /bin/busybox
ffff8e959ff81558 5e5000 5ec000 8100073
ffff8e959ff81390 703f000 7061000 8100073
ffff8e9593415d10 7faadcaf1000 7faadcb01000 8100073
ffff8e959ff81ab0 7ffc8ec24000 7ffc8ec45000 100173
ffff8e959ff815f0 7ffc8ecaa000 7ffc8ecae000 c044411
ffff8e959ff817b8 7ffc8ecae000 7ffc8ecb0000 8040075
""".splitlines()
# the same for all that have an address space
AREAS = {1: 10, 101: 24, 102: 10, 103: 10, 105: 11, 106: 11, 109: 10} | dict.fromkeys((108, *range(111, 117)), 24)
# drgn: follow_phys(mm, address)
PHYSICAL_OF_105 = {0x401000: 0x33F1000, 0x5E2000: 0x386B000, 0x7FFC8EC44000: 0x3865000, 0x5DB000: 0x35CA000}


def test_areas(ask: Ask) -> None:
    lines = words(ask("vm 105"))
    assert lines[1:4] == [
        "MM PGD RSS TOTAL_VM",
        "ffff8e9581055200 ffff8e9592e1c000 1524k 2324k",
        "VMA START END FLAGS FILE",
    ]
    assert lines[4:] == AREAS_OF_105
    for pid, count in AREAS.items():
        rows = [json.loads(line) for line in ask(f"vm {pid}", "json").splitlines()]
        assert sum("vma" in row for row in rows) == count
    assert ask("foreach vm").count("PID: ") == 68
    names = [json.loads(line).get("name") for line in ask("vm 105", "json").splitlines()]
    assert names[2 + 6] == "[heap]" and names[2 + 8 :] == ["[stack]", "[vvar]", "[vdso]"]


def test_pages_of_areas(ask: Ask) -> None:
    rows = [json.loads(line) for line in ask("vm -p 105", "json").splitlines()]
    physical = {int(row["virtual"], 16): row["physical"] for row in rows if "virtual" in row}
    assert {address: int(physical[address], 16) for address in PHYSICAL_OF_105} == PHYSICAL_OF_105
    assert len(physical) == 2324 // 4 + 4 + 2 - 4 - 2  # total_vm counts all but what the kernel maps for itself
    text = words(ask("vm -P ffff8e959ff81980 105"))
    assert text[1:4] == ["VMA START END FLAGS FILE", AREAS_OF_105[1], "VIRTUAL PHYSICAL"]
    assert text[4] == "401000 33f1000"
    assert len(text) == 4 + 0x184


def test_references_to_memory(ask: Ask) -> None:
    assert ask("vm -R busybox 105").count("/bin/busybox") == 5
    assert words(ask("vm -p -R 402123 105"))[4:6] == [AREAS_OF_105[1], "VIRTUAL PHYSICAL"]
    assert ask("vm -R nothing 105") == ""
    assert "struct mm_struct {" in ask("vm -m 105").splitlines()
    assert ask("vm -v 105").count("struct vm_area_struct {") == 11


def test_addresses_of_processes(ask: Ask) -> None:
    for address, physical in PHYSICAL_OF_105.items():
        lines = words(ask(f"vtop -c 105 {address:x}"))
        assert lines[:2] == ["VIRTUAL PHYSICAL", f"{address:x} {physical:x}"]
        assert [line.split(":")[0] for line in lines[2:7]] == ["PGD", "PUD", "PMD", "PTE", "PAGE"]
    assert words(ask("vtop -c 105 1000"))[1] == "1000 (not mapped)"
    assert [line for line in ask("foreach user vtop 401000").splitlines() if line.startswith("401000 ")]


def test_flags_in_words(ask: Ask) -> None:
    """crash has the names of old kernels for bits that others have now: CAN_NONLINEAR is SOFTDIRTY."""
    assert ask("vm -f 8100073") == "8100073: (READ|WRITE|MAYREAD|MAYWRITE|MAYEXEC|ACCOUNT|SOFTDIRTY)\n"
    assert ask("vm -f c044411") == "c044411: (READ|MAYREAD|PFNMAP|IO|DONTEXPAND|DONTDUMP|SOFTDIRTY)\n"
    assert "PROTNONE" in ask("pte ffffff92c6960")
    assert words(ask("pte 7fffffffffffa00"))[1] == "7fffffffffffa00 (area 0) 2"


def test_what_memory_is_used_for(ask: Ask) -> None:
    """crash counts a slab of several pages as one page (its 2289 are the pages with PG_slab, heads since v5.17;
    vm_node_stat has 2320 + 1738), and leaves out of COMMITTED what CPUs have for themselves (drgn:
    percpu_counter_sum(prog["vm_committed_as"]) is 21414).
    """
    wrong = {"SLAB": "SLAB 4058 15.9 MB 5% of TOTAL MEM", "COMMITTED": "COMMITTED 21414 83.6 MB 54% of TOTAL LIMIT"}
    assert words(ask("kmem -i")) == [wrong.get(line.split()[0], line) for line in ANSWERS["kmem -i"]]


def test_free_memory(ask: Ask) -> None:
    """crash's START_MAPNR counts zones up here; it is the number of the first frame, as in its kmem -n."""
    theirs = [re.sub(" 4095$", " 4096", re.sub("1000 0$", "1000 1", line)) for line in ANSWERS["kmem -f"]]
    assert words(ask("kmem -f"))[: len(theirs)] == theirs[: len(words(ask("kmem -f")))]
    whole = ask("kmem -F").split()
    assert whole.count("FREE_AREA_STRUCT") == 2 * 11 * 5
    rows = [json.loads(line) for line in ask("kmem -F", "json").splitlines()]
    assert sum(row["blocks"] for row in rows) == sum(len(row["block_pages"]) for row in rows)
    assert sum(row["pages"] for row in rows) == 66428
    block = next(row for row in rows if row["order"] == 10 and row["blocks"] == 54)["block_pages"][5]
    found = json.loads(ask(f"kmem -f {int(block, 16) + 64 * 1000:x}", "json"))
    assert (found["order"], found["block_page"], found["zone"]) == (10, block, "DMA32")
    assert "FREE_AREA_STRUCT" in ask(f"kmem {block[2:]}")


def test_counters(ask: Ask) -> None:
    """From crash's kmem -V."""
    text = words(ask("kmem -V"))
    for line in ("NR_FREE_PAGES: 66428", "NR_KERNEL_STACK_KB: 1072", "PGFREE: 259734", "DIRECT_MAP_LEVEL2_SPLIT: 1"):
        assert line in text
    assert len(text) == 165


def test_all_slab_objects(ask: Ask) -> None:
    """crash's kmem -S lists 4283 allocated and 6776 free objects in slabs of CPUs; the digests are of its addresses.
    It leaves out the objects of slabs that no CPU has; drgn finds 603 and 431 allocated in these caches.
    """
    rows = [json.loads(line) for line in ask("kmem -S", "json").splitlines()]
    objects = [row for row in rows if "object" in row]
    digests = {False: "c735eb2567286f539d5e3a8b1ad15c14a927dd07", True: "6a86e9bf78bec0bc7604b5a0f36959e89c7570a3"}
    for is_free, count in ((False, 4283), (True, 6776)):
        listed = [row["object"][2:] for row in objects if row["list"].startswith("cpu") and row["free"] == is_free]
        assert len(listed) == count
        assert hashlib.sha1(" ".join(listed).encode()).hexdigest() == digests[is_free]
    caches = {row["name"]: row for row in rows if "object_bytes" in row}
    assert (caches["kmalloc-32"]["allocated"], caches["Acpi-Operand"]["allocated"]) == (603, 431)
    assert ask("kmem -S=1 pid").count("KMEM_CACHE_CPU") == 1
    assert ask("kmem -I pid,dentry -s").count("\n") == ask("kmem -s").count("\n") - 2
    assert words(ask("kmem -s list"))[-1] == "ffff8e9581042000 kmem_cache"


def test_free_objects_and_who_has_them(ask: Ask) -> None:
    """An object that another CPU freed is on the slab's own list; crash says that the CPU's slab has it."""
    text = ask("kmem -s ffff8e959ff9d100")
    assert "   ffff8e959ff9d100\n" in text and "[" not in text.split("[ALLOCATED]")[1]
    assert "   ffff8e959ff9d080  (cpu 0 cache)\n" in ask("kmem -s ffff8e959ff9d080")


def test_tasks_and_stacks_by_address(ask: Ask) -> None:
    """PID and task are crash's for the same addresses."""
    for address in ("ffff8e95811fb010", "ffffd1adc0013c90"):
        assert words(ask(f"kmem {address}")).index("PID: 1") >= 0
        assert "TASK: ffff8e95811fb000" in words(ask(f"kmem {address}"))
    assert words(ask("kmem ffffffff9ca1aa40"))[0] == "ffffffff9ca1aa40 (D) init_task"


def test_struct_pages(ask: Ask) -> None:
    lines = ask("kmem -p").splitlines()
    assert len(lines) == 1 + 131072
    assert words(lines[-1]) == ["fffffb08007fffc0 1ffff000 0 0 1 fffffc0001000 reserved"]
    assert words(ask("kmem -m flags,_refcount.counter ffff8e9581042200"))[1] == "fffffb0800041080 0xfffffc0000200 0x1"
    assert ask("kmem -P -p 1000000") == ask("kmem -p fffffb0800040000")


def test_texts_go_over_pages(ask: Ask) -> None:
    """crash shows a text up to the end of its page."""
    theirs = ANSWERS['search -c "Linux version 6"']
    ours = ask('search -c "Linux version 6"').splitlines()
    assert [line[: len(found)] for line, found in zip(ours, theirs, strict=True)] == theirs
    assert ours[0].endswith(": Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.")
    assert "ffff8e9591f1ffee: 6.1.0-56-cloud" in ask("search -c '6.1.0-56-cloud-amd64 (debian-kernel@lists'")


def test_stacks_of_all_tasks(ask: Ask) -> None:
    """What crash finds is there, and the stacks of tasks that it does not know."""
    text = words(ask("search -t ffff8e95811fb000"))
    assert [line for line in ANSWERS["search -t ffff8e95811fb000"] if line not in text] == []
    assert sum(line.startswith("PID: ") for line in text) == 10


def test_numbers_by_name(ask: Ask) -> None:
    """crash also finds what lies in front of the kernel's image, where nothing is mapped: ffffffff8b255120 and more."""
    lines = ask("search init_task").splitlines()
    assert lines and all(line.endswith(": ffffffff9ca1aa40 (init_task)") for line in lines)
    assert not any(line.startswith("ffffffff8b") for line in lines)
    assert ask("search (init_task+0x890)").splitlines()[0].endswith(": ffffffff9ca1b2d0 (init_task+0x890)")
    assert ask("search -s init_task -l 8 0").count("\n") <= 1
    many = ask("search -p 0").splitlines()
    assert len(many) == 100_000


def test_memory_of_processes_that_was_filtered_out(ask: Ask) -> None:
    """drgn: access_remote_vm(mm, 0x401000, 32) raises "Excluded page: 0x33f1000"."""
    ask("set 105")
    assert ask("search -u -s 401000 -l 1000 0") == ""
    ask("set -p")


MISTAKES = (
    "search", "search -k", "search nosuch", "search -w 123456789", "search -s 5 1", "search -s init_task -l 0 1",
    "search -e init_task -l 5 1", "search -x 0 1", "search -x y 1", "search -m q 1", "search -c -m 1 a",
    "search -k -u 1", "search -t -s 5 1", "search -p -s ffff8e95811fb000 1",
    "kmem", "kmem -s nosuch", "kmem -g x", "kmem -f fffffb0800041080", "kmem 10000000000000",
    "kmem -m nosuch", "kmem nosuch",
    "vm nobody", "vm -P 10 1", "vm -P x 1", "vm -m -p", "vtop", "vtop nosuch", "vtop -u -c 2 1000", "ptov x",
            "ptov 0:9", "pte x", "ptov fffffffffffffffff")  # fmt: skip


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes(ask: Ask, line: str) -> None:
    with pytest.raises(UsageError):
        ask(line)
