"""BTF beside bpftool and pahole: of this kernel, of another kernel's image, split, swapped, and damaged."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from btf_writer import BtfWriter, every_kind

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import VMLINUX, Btf
from linscope.binfmt.btf_layout import Place, find_member, member, size_of, type_name
from linscope.binfmt.kernel_image import extract_vmlinux
from linscope.errors import FormatError, InputError, UnknownNameError, UnsupportedError, UsageError

LAB_KERNEL = Path(__file__).resolve().parents[3] / "shared" / "lab" / "bzImage-6.1-lab"
KINDS = {
    "INT": bt.KIND_INT, "PTR": bt.KIND_PTR, "ARRAY": bt.KIND_ARRAY, "STRUCT": bt.KIND_STRUCT, "UNION": bt.KIND_UNION,
    "ENUM": bt.KIND_ENUM, "FWD": bt.KIND_FWD, "TYPEDEF": bt.KIND_TYPEDEF, "VOLATILE": bt.KIND_VOLATILE,
    "CONST": bt.KIND_CONST, "RESTRICT": bt.KIND_RESTRICT, "FUNC": bt.KIND_FUNC, "FUNC_PROTO": bt.KIND_FUNC_PROTO,
    "VAR": bt.KIND_VAR, "DATASEC": bt.KIND_DATASEC, "FLOAT": bt.KIND_FLOAT, "DECL_TAG": bt.KIND_DECL_TAG,
    "TYPE_TAG": bt.KIND_TYPE_TAG, "ENUM64": bt.KIND_ENUM64,
}  # fmt: skip


def needs(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}: apt-get install bpftool dwarves")


@pytest.fixture(scope="module")
def running() -> str:
    if not Path(VMLINUX).exists():
        pytest.skip("the running kernel has no BTF: CONFIG_DEBUG_INFO_BTF is off")
    return VMLINUX


def bpftool_types(path: str, *options: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["bpftool", "-j", *options, "btf", "dump", "file", path], capture_output=True, text=True, check=True
    )
    return list(json.loads(done.stdout)["types"])


def as_bpftool(btf: Btf, type_id: int) -> dict[str, Any]:
    """A type in bpftool's words, so far as both tell it."""
    kind = {number: name for name, number in KINDS.items()}[btf.kind(type_id)]
    named: dict[str, Any] = {"id": type_id, "kind": kind, "name": btf.name(type_id) or "(anon)"}
    match btf.type(type_id):
        case bt.Int(size=size, bits=bits, offset=offset):
            return named | {"size": size, "nr_bits": bits, "bits_offset": offset}
        case bt.Pointer(target) | bt.Typedef(target=target) | bt.Qualifier(target=target) | bt.TypeTag(target=target):
            return named | {"type_id": target}
        case bt.Array(element, index, length):
            return named | {"type_id": element, "index_type_id": index, "nr_elems": length}
        case bt.Struct(size=size, members=members):
            shown = []
            for one in members:
                field = {"name": one.name or "(anon)", "type_id": one.type, "bits_offset": one.bit_offset}
                shown.append(field | ({"bitfield_size": one.bitfield_size} if one.bitfield_size else {}))
            return named | {"size": size, "vlen": len(members), "members": shown}
        case bt.Enum(size=size, values=values):
            return named | {"size": size, "values": [{"name": name, "val": value} for name, value in values]}
        case bt.Forward(is_union=is_union):
            return named | {"fwd_kind": "union" if is_union else "struct"}
        case bt.FuncProto(returns, parameters, variadic):
            shown = [{"name": one.name or "(anon)", "type_id": one.type} for one in parameters]
            shown += [{"name": "(anon)", "type_id": 0}] if variadic else []
            return named | {"ret_type_id": returns, "params": shown}
        case bt.Func(proto=proto, linkage=linkage):
            return named | {"type_id": proto, "linkage": ("static", "global", "extern")[linkage]}
        case bt.Var(type=target):
            return named | {"type_id": target}
        case bt.DataSection(size=size, variables=variables):
            shown = [{"type_id": v.variable, "offset": v.offset, "size": v.size} for v in variables]
            return named | {"size": size, "vars": shown}
        case bt.DeclTag(target=target, component=component):
            return named | {"type_id": target, "component_idx": component}
        case bt.Float(size=size):
            return named | {"size": size}
        case other:
            raise AssertionError(other)


def compare(btf: Btf, peer: list[dict[str, Any]], first_id: int = 1) -> None:
    assert len(btf) == first_id + len(peer)
    for theirs in peer:
        ours = as_bpftool(btf, theirs["id"])
        if ours["kind"] == "ENUM":  # bpftool 7.1 extends the sign of values without one
            theirs = theirs | {"values": [one | {"val": one["val"] & 0xFFFFFFFF} for one in theirs["values"]]}
            ours["values"] = [one | {"val": one["val"] & 0xFFFFFFFF} for one in ours["values"]]
        assert ours == {key: theirs.get(key) for key in ours}


@pytest.mark.kernel
@pytest.mark.peer
@pytest.mark.slow
def test_every_type_of_this_kernel_is_as_bpftool_tells_it(running: str) -> None:
    needs("bpftool")
    compare(Btf.open(), bpftool_types(running))


@pytest.mark.kernel
@pytest.mark.peer
@pytest.mark.slow
def test_names_are_found_as_bpftool_tells_them(running: str) -> None:
    needs("bpftool")
    peer = bpftool_types(running)
    by_name: dict[str, list[int]] = {}
    for one in peer:
        by_name.setdefault(one["name"], []).append(one["id"])
    names = random.Random(1).sample(sorted(by_name), 150)
    names += ["int", "task_struct", "tcp_sendmsg", "u8", "zone_type", "size_t"]
    for name in names:
        if name != "(anon)":
            # a reader of its own: what was counted for another name must not help
            assert Btf.open().find(name) == by_name[name], name
    btf = Btf.open()
    assert btf.find("no such thing") == [] == btf.find("")
    assert [btf.kind(i) for i in btf.find("task_struct", (bt.KIND_STRUCT,))] == [bt.KIND_STRUCT]
    assert btf.find("task_struct", (bt.KIND_FUNC, bt.KIND_UNION)) == []


def pahole_offsets(name: str) -> dict[str, tuple[int, int, int]]:
    """Member -> (byte offset, first bit, bits) of what stands outermost in a struct."""
    done = subprocess.run(["pahole", "-F", "btf", "-C", name, VMLINUX], capture_output=True, text=True, check=True)
    found = {}
    for line in done.stdout.splitlines():
        match = re.match(
            r"\t(\S[^;{}]*?)[ *]\(?\*?(\w+)(?:\)\(.*\))?((?:\[\d*\])*)(?::(\d+))?;\s+/\*\s+(\d+)(?:: ?(\d+))?", line
        )
        if match and not line.startswith("\t/"):
            found[match[2]] = (int(match[5]), int(match[6] or 0), int(match[4] or 0))
    return found


STRUCTS = (
    "task_struct sk_buff sock tcp_sock file dentry inode super_block mm_struct vm_area_struct net_device bio request "
    "signal_struct sched_entity cfs_rq rq cred nsproxy pid page iov_iter msghdr timer_list workqueue_struct"
).split()


@pytest.mark.kernel
@pytest.mark.peer
@pytest.mark.parametrize("name", STRUCTS)
def test_offsets_are_those_of_pahole(running: str, name: str) -> None:
    needs("pahole")
    btf = Btf.open()
    struct_id = btf.find_one(name, (bt.KIND_STRUCT,))
    theirs = pahole_offsets(name)
    assert theirs
    for field, (offset, bit, bits) in theirs.items():
        place = member(btf, struct_id, field)
        # pahole counts bit fields within the integer that they are declared as
        start = place.bit_offset if not bits else place.bit_offset - place.bit_offset % (8 * size_of(btf, place.type))
        assert (start // 8, place.bit_offset - start, place.bitfield_size) == (offset, bit, bits), field


@pytest.mark.kernel
@pytest.mark.peer
def test_sizes_are_those_of_pahole(running: str) -> None:
    needs("pahole")
    done = subprocess.run(["pahole", "-F", "btf", "--sizes", VMLINUX], capture_output=True, text=True, check=True)
    btf = Btf.open()
    sizes: dict[str, set[int]] = {}
    for struct_id in (*btf.iter_ids(bt.KIND_STRUCT), *btf.iter_ids(bt.KIND_UNION)):
        sizes.setdefault(btf.name(struct_id), set()).add(size_of(btf, struct_id))
    lines = done.stdout.splitlines()
    assert len(lines) > 3000
    for line in lines:
        name, size, _holes = line.split("\t")
        assert int(size) in sizes[name], name


@pytest.mark.peer
def test_the_image_of_another_kernel(tmp_path: Path) -> None:
    needs("bpftool")
    if not LAB_KERNEL.exists():
        pytest.skip("no ../shared/lab/bzImage-6.1-lab beside the checkout")
    btf = Btf.open(str(LAB_KERNEL))
    vmlinux = tmp_path / "vmlinux"
    vmlinux.write_bytes(extract_vmlinux(LAB_KERNEL.read_bytes()))
    peer = bpftool_types(str(vmlinux))
    compare(btf, peer)
    assert Btf.open(str(vmlinux)).find("tcp_sendmsg") == btf.find("tcp_sendmsg") != []
    struct_id = btf.find_one("task_struct", (bt.KIND_STRUCT,))
    assert type_name(btf, member(btf, struct_id, "comm[3]").type) == "char"


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind_in_both_byte_orders(order: str, tmp_path: Path) -> None:
    writer = every_kind(order)
    path = tmp_path / "btf"
    path.write_bytes(writer.data())
    btf = Btf.open(str(path))
    assert {btf.kind(i) for i in range(1, len(btf))} == set(range(1, bt.KIND_MAX + 1))
    assert btf.type(btf.find_one("color")) == bt.Enum("color", 4, True, (("RED", 0), ("BLUE", -2)))
    assert btf.type(btf.find_one("wide")) == bt.Enum("wide", 8, False, (("HUGE", 1 << 32 | 5),))
    printed = btf.type(btf.find_one("print"))
    assert isinstance(printed, bt.Func)
    assert btf.type(printed.proto) == bt.FuncProto(0, (bt.Parameter("format", 3),), True)
    assert btf.find("x") == []  # the name of a member only
    needs("bpftool")
    compare(btf, bpftool_types(str(path)))


def test_members_are_found_by_their_paths() -> None:
    btf = Btf(every_kind().data())
    shape = btf.find_one("shape_t")
    number = btf.find_one("int")
    assert member(btf, shape, "corner.y") == Place(number, 224, 0)
    assert member(btf, shape, "word") == Place(number, 128, 0)  # of an anonymous union
    assert member(btf, shape, "name[3]") == Place(btf.find_one("char"), 24, 0)
    assert member(btf, btf.find_one("flags"), "high") == Place(number, 3, 5)
    assert size_of(btf, shape) == 48 and size_of(btf, member(btf, shape, "name").type) == 16
    assert find_member(btf, shape, "none") is None is find_member(btf, number, "x")
    with pytest.raises(UnknownNameError, match="did you mean corner"):
        member(btf, shape, "corners.y")
    for path in ("name[x]", "corner[1]", "corner."):
        with pytest.raises(UsageError):
            member(btf, shape, path)


def test_types_of_a_module_continue_those_of_the_kernel(tmp_path: Path) -> None:
    base = every_kind()
    split = BtfWriter(first_id=base.next_id, first_string=len(base.strings))
    number = 1
    mine = split.struct("mine", 8, ("first", number, 0), ("second", number, 32))
    split.types += struct.pack("<III", base.text("shape"), bt.KIND_TYPEDEF << 24, mine)  # a name of the base
    paths = [tmp_path / "vmlinux", tmp_path / "module"]
    for path, writer in zip(paths, (base, split), strict=True):
        path.write_bytes(writer.data())
    kernel = Btf.open(str(paths[0]))
    btf = Btf.open(str(paths[1]), kernel)
    assert btf.first_id == base.next_id
    assert btf.find("mine") == [mine] and btf.find("point") == kernel.find("point")
    assert btf.find("shape") == [*kernel.find("shape"), mine + 1]
    assert member(btf, mine + 1, "second") == Place(number, 32, 0)
    assert list(btf.iter_ids(bt.KIND_TYPEDEF)) == [*kernel.iter_ids(bt.KIND_TYPEDEF), mine + 1]
    needs("bpftool")
    compare(btf, bpftool_types(str(paths[1]), "-B", str(paths[0])), btf.first_id)


def read_all(data: bytes) -> None:
    """Ask everything."""
    btf = Btf(data)
    for name in ("shape", "draw", "int", "color"):
        for type_id in btf.find(name):
            btf.type(type_id)
    for type_id in range(len(btf)):
        btf.type(type_id)
        size_of(btf, type_id)
        type_name(btf, type_id)
        find_member(btf, type_id, "none")


def test_damage_is_told_with_its_place() -> None:
    data = every_kind().data()
    chance = random.Random(1)
    refused = 0
    for trial in range(4000):
        damaged = bytearray(data)
        for _ in range(1 + trial % 3):
            damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            read_all(bytes(damaged))
        except InputError as error:
            assert error.offset is not None
            refused += 1
    assert refused > 500
    for size in range(len(data)):
        with pytest.raises(FormatError):
            read_all(data[:size])


def test_circles_end() -> None:
    writer = BtfWriter()
    first = writer.add(bt.KIND_TYPEDEF, "egg", 2)
    writer.add(bt.KIND_CONST, "", 1)
    array = writer.add(bt.KIND_ARRAY, "", 0, 3, 3, 2)
    inside = writer.struct("", 8, ("", 4, 0), ("", 4, 0))
    btf = Btf(writer.data())
    for type_id in (first, array):
        with pytest.raises(FormatError):
            size_of(btf, type_id)
        assert type_name(btf, type_id)
    assert find_member(btf, inside, "x") is None


def test_a_damaged_kernel_image() -> None:
    if not LAB_KERNEL.exists():
        pytest.skip("no ../shared/lab/bzImage-6.1-lab beside the checkout")
    image = LAB_KERNEL.read_bytes()
    for data in (b"", image[:500], image[:600], image[:100_000], image[:200_000] + bytes(len(image) - 200_000)):
        with pytest.raises(InputError):
            extract_vmlinux(data)


@pytest.mark.parametrize(
    "compress", [gzip.compress, lzma.compress, bz2.compress, zstandard.ZstdCompressor().compress, bytes]
)
def test_kernel_images_are_decompressed(compress: Callable[[bytes], bytes]) -> None:
    elf = b"\x7fELF" + bytes(range(256)) * 8
    payload = compress(elf) + (b"" if compress is bytes else len(elf).to_bytes(4, "little"))
    image = bytearray(1024 + 16)
    image[0x1F1], image[0x202:0x206], image[0x206:0x208] = 1, b"HdrS", b"\x08\x02"
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    assert extract_vmlinux(bytes(image) + payload) == elf
    with pytest.raises(InputError):
        extract_vmlinux(bytes(image) + payload[:-5] + b"\xff" * 5) if compress is not bytes else extract_vmlinux(b"")
    with pytest.raises(UnsupportedError):
        extract_vmlinux(bytes(image) + b"\x02\x21\x4c\x18" + payload[4:])
