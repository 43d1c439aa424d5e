"""Types as text beside pahole: every struct of the running kernel's BTF and of the lab's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import VMLINUX, Btf
from linscope.binfmt.btf_text import declare, type_text
from linscope.binfmt.btf_writer import BtfWriter

LAB = Path(__file__).resolve().parents[3] / "shared" / "lab" / "bzImage-6.1-lab"
ALIKE = 0.995  # of the structs; pahole 1.24 has three slips, named in test_what_pahole_says_otherwise


def pahole_structs(path: Path) -> dict[str, str]:
    """What pahole prints of all structs, by name."""
    if shutil.which("pahole") is None:
        pytest.skip("needs pahole: apt-get install dwarves")
    printed = subprocess.run(["pahole", str(path)], capture_output=True, text=True, check=False).stdout
    found: dict[str, str] = {}
    for match in re.finditer(r"^(struct (\w+) \{\n.*?^\}[^\n]*;)\n", printed, re.MULTILINE | re.DOTALL):
        found.setdefault(match[2], match[1])
    assert len(found) > 1000
    return found


def ours(btf: Btf) -> dict[str, list[str]]:
    """Ours, by name: there may be several structs of one."""
    found: dict[str, list[str]] = {}
    for number in btf.iter_ids(bt.KIND_STRUCT):
        if name := btf.name(number):
            found.setdefault(name, []).append(type_text(btf, number))
    return found


def known_slip(text: str) -> bool:
    """True for what pahole 1.24 prints otherwise than the types say."""
    return bool(re.search(r"= 2147483648,", text) or re.search(r"^\t\t/\* size: ", text, re.MULTILINE))


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["running", "lab"])
def test_all_structs_as_pahole_shows_them(kernel: str, tmp_path: Path) -> None:
    path = Path(VMLINUX)
    if kernel == "lab":
        path = tmp_path / "lab.btf"
        if not LAB.exists():
            pytest.skip("needs ../shared/lab")
        raw = Btf.open(str(LAB))
        path.write_bytes(raw._data[:])
    if not path.exists():
        pytest.skip("needs a kernel with CONFIG_DEBUG_INFO_BTF")
    btf = Btf.open(str(path))
    theirs = pahole_structs(path)
    mine = ours(btf)
    differ = [name for name, text in theirs.items() if text not in mine[name]]
    assert len(differ) <= (1 - ALIKE) * len(theirs), differ[:20]
    assert [name for name in differ if not known_slip(theirs[name])] == []


def test_every_type_of_the_kernel_comes_back_from_the_writer() -> None:
    if not Path(VMLINUX).exists():
        pytest.skip("needs a kernel with CONFIG_DEBUG_INFO_BTF")
    btf = Btf.open()
    writer = BtfWriter()
    step = range(1, min(len(btf), 30_000))
    for number in step:
        assert writer.add(btf.type(number)) == number
    again = Btf(writer.data())
    assert all(again.type(number) == btf.type(number) for number in step)


@pytest.fixture
def types() -> tuple[Btf, dict[str, int]]:
    """A few types of every kind."""
    writer = BtfWriter()
    ids = {"int": writer.add(bt.Int("int", 4, 32, 0, bt.INT_SIGNED)), "char": writer.add(bt.Int("char", 1, 8, 0, 0))}
    ids["long"] = writer.add(bt.Int("long int", 8, 64, 0, bt.INT_SIGNED))
    ids["const char"] = writer.add(bt.Qualifier("const", ids["char"]))
    ids["text"] = writer.add(bt.Pointer(ids["const char"]))
    ids["volatile"] = writer.add(bt.Qualifier("volatile", ids["int"]))
    ids["array"] = writer.add(bt.Array(ids["int"], ids["int"], 3))
    ids["proto"] = writer.add(bt.FuncProto(ids["int"], (bt.Parameter("s", ids["text"]),), True))
    ids["call"] = writer.add(bt.Pointer(ids["proto"]))
    ids["func"] = writer.add(bt.Func("print", ids["proto"], 1))
    members = (
        bt.Member("a", ids["char"], 0, 0),
        bt.Member("b", ids["long"], 64, 0),
        bt.Member("x", ids["int"], 128, 3),
        bt.Member("y", ids["int"], 131, 7),
        bt.Member("call", ids["call"], 192, 0),
        bt.Member("list", ids["array"], 256, 0),
    )
    ids["s"] = writer.add(bt.Struct("s", 48, members, False))
    either = bt.Member("one", ids["s"], 0, 0), bt.Member("n", ids["int"], 0, 0)
    ids["u"] = writer.add(bt.Struct("u", 48, either, True))
    ids["e"] = writer.add(bt.Enum("e", 8, True, (("MINUS", -1), ("BIG", 1 << 40))))
    ids["t"] = writer.add(bt.Typedef("callback_t", ids["call"]))
    ids["fwd"] = writer.add(bt.Forward("later", False))
    ids["tag"] = writer.add(bt.TypeTag("user", ids["char"]))
    ids["user"] = writer.add(bt.Pointer(ids["tag"]))
    ids["var"] = writer.add(bt.Var("counter", ids["int"], 1))
    ids["section"] = writer.add(bt.DataSection(".bss", 4, (bt.SectionVariable(ids["var"], 0, 4),)))
    ids["float"] = writer.add(bt.Float("double", 8))
    ids["decl"] = writer.add(bt.DeclTag("kind", ids["s"], 2))
    return Btf(writer.data()), ids


def test_definitions(types: tuple[Btf, dict[str, int]]) -> None:
    btf, ids = types
    assert type_text(btf, ids["s"]) == (
        "struct s {\n"
        "\tchar                       a;                    /*     0     1 */\n"
        "\n"
        "\t/* XXX 7 bytes hole, try to pack */\n"
        "\n"
        "\tlong int                   b;                    /*     8     8 */\n"
        "\tint                        x:3;                  /*    16: 0  4 */\n"
        "\tint                        y:7;                  /*    16: 3  4 */\n"
        "\n"
        "\t/* XXX 22 bits hole, try to pack */\n"
        "\t/* XXX 4 bytes hole, try to pack */\n"
        "\n"
        "\tint                        (*call)(const char  * s, ...); /*    24     8 */\n"
        "\tint                        list[3];              /*    32    12 */\n"
        "\n"
        "\t/* size: 48, cachelines: 1, members: 6 */\n"
        "\t/* sum members: 29, holes: 2, sum holes: 11 */\n"
        "\t/* sum bitfield members: 10 bits, bit holes: 1, sum bit holes: 22 bits */\n"
        "\t/* padding: 4 */\n"
        "\t/* last cacheline: 48 bytes */\n"
        "};"
    )
    assert "one;" in type_text(btf, ids["u"]) and type_text(btf, ids["u"]).startswith("union u {\n")
    assert type_text(btf, ids["e"]).splitlines()[1:3] == ["\tMINUS = -1,", "\tBIG   = 1099511627776,"]
    assert type_text(btf, ids["t"]) == "typedef int (*callback_t)(const char *s, ...);"
    assert type_text(btf, ids["func"]) == "int print(const char *s, ...);"
    assert type_text(btf, ids["var"]) == "int counter;"
    assert "int counter; /*     0     4 */" in type_text(btf, ids["section"])
    assert type_text(btf, ids["fwd"]) == "struct later;"


def test_declarations(types: tuple[Btf, dict[str, int]]) -> None:
    btf, ids = types
    assert declare(btf, ids["text"], "name") == "const char *name"
    assert declare(btf, ids["array"], "three") == "int three[3]"
    assert declare(btf, ids["call"], "call") == "int (*call)(const char *s, ...)"
    assert declare(btf, ids["user"], "p") == "char *p"
    assert declare(btf, ids["volatile"]) == "volatile int"
    assert declare(btf, 0) == "void"


def test_what_pahole_says_otherwise() -> None:
    """Values of (1 << 31) in a signed enum: BTF says that they are negative, as they are in C."""
    writer = BtfWriter()
    number = writer.add(bt.Enum("flags", 4, True, (("TOP", -(1 << 31)),)))
    assert "TOP = -2147483648" in type_text(Btf(writer.data()), number)


def test_types_in_a_circle_are_an_error() -> None:
    from linscope.errors import FormatError

    writer = BtfWriter()
    writer.add(bt.Pointer(2))
    writer.add(bt.Qualifier("volatile", 1))
    with pytest.raises(FormatError):
        type_text(Btf(writer.data()), 2)
