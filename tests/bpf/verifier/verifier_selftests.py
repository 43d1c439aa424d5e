"""The kernel's own verifier selftests as values: read from Debian's linux-source package when a test runs.

Nothing of them is kept here: ``extract`` unpacks what is needed, ``load`` compiles dump_selftests.c against it and
reads what that prints.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

from linscope.abi import bpf as b
from linscope.binfmt.btf import Btf
from linscope.bpf.instructions import Instruction, decode
from linscope.bpf.program import Function, Map, Program

HERE = Path(__file__).resolve().parent
PACKAGE = "linux-source-6.1"
ARCHIVE = Path("/usr/src") / f"{PACKAGE}.tar.xz"
REMEDY = f"needs {ARCHIVE}: apt-get install {PACKAGE}"
KERNEL = (6, 1)
ACCEPT, REJECT, VERBOSE_ACCEPT = 1, 2, 3

_LONG, _VALUE, _OTHER = 8, 48, 16
# create_map and its companions of test_verifier.c: (type, key, value, entries, flags)
_MAPS: dict[str, tuple[int, int, int, int, int]] = {
    "hash_8b": (b.BPF_MAP_TYPE_HASH, _LONG, 8, 1, b.BPF_F_NO_PREALLOC),
    "hash_48b": (b.BPF_MAP_TYPE_HASH, _LONG, _VALUE, 1, b.BPF_F_NO_PREALLOC),
    "hash_16b": (b.BPF_MAP_TYPE_HASH, _LONG, _OTHER, 1, b.BPF_F_NO_PREALLOC),
    "array_48b": (b.BPF_MAP_TYPE_ARRAY, 4, _VALUE, 1, 0),
    "sockmap": (b.BPF_MAP_TYPE_SOCKMAP, 4, 4, 1, 0),
    "sockhash": (b.BPF_MAP_TYPE_SOCKHASH, 4, 4, 1, 0),
    "xskmap": (b.BPF_MAP_TYPE_XSKMAP, 4, 4, 1, 0),
    "stacktrace": (b.BPF_MAP_TYPE_STACK_TRACE, 4, 8, 1, 0),
    "prog1": (b.BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4, 0),
    "prog2": (b.BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 8, 0),
    "map_in_map": (b.BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 1, 0),
    "cgroup_storage": (b.BPF_MAP_TYPE_CGROUP_STORAGE, 16, 64, 0, 0),
    "percpu_cgroup_storage": (b.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, 16, 64, 0, 0),
    "spin_lock": (b.BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0),
    "array_ro": (b.BPF_MAP_TYPE_ARRAY, 4, _VALUE, 1, b.BPF_F_RDONLY_PROG),
    "array_wo": (b.BPF_MAP_TYPE_ARRAY, 4, _VALUE, 1, b.BPF_F_WRONLY_PROG),
    "array_small": (b.BPF_MAP_TYPE_ARRAY, 4, 1, 1, 0),
    "sk_storage": (b.BPF_MAP_TYPE_SK_STORAGE, 4, 8, 0, b.BPF_F_NO_PREALLOC),
    "event_output": (b.BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 1, 0),
    "reuseport_array": (b.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 4, 8, 1, 0),
    "ringbuf": (b.BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0),
    "timer": (b.BPF_MAP_TYPE_ARRAY, 4, 16, 1, 0),
    "kptr": (b.BPF_MAP_TYPE_ARRAY, 4, 24, 1, 0),
}
_VALUE_TYPES = {"spin_lock": 3, "sk_storage": 3, "timer": 5, "kptr": 14}  # ids in the BTF that the maps share


class Case(NamedTuple):
    """One selftest."""

    file: str
    name: str
    program: Program
    result: int
    result_unprivileged: int
    message: str
    message_unprivileged: str
    kfuncs: tuple[tuple[str, int], ...]


def extract(folder: Path) -> Path:
    """Unpack the selftests below a folder; the root of the sources.  Raises CalledProcessError."""
    root = folder / PACKAGE
    if not root.is_dir():
        wanted = ("tools/testing/selftests/bpf/verifier/*", "tools/testing/selftests/bpf/*.[ch]", "tools/include/*")
        command = ["tar", "-C", str(folder), "-xf", str(ARCHIVE), "--wildcards", *(f"*/{name}" for name in wanted)]
        subprocess.run(command, check=True)
    return root


def _prepare(root: Path, build: Path) -> None:
    """Write cases.h and all.h: what test_verifier.c declares, and an array for each file of cases."""
    selftests = root / "tools/testing/selftests/bpf"
    source = (selftests / "test_verifier.c").read_text()
    declared = source[source.index("#define MAX_INSNS") : source.index("static struct bpf_test tests[]")]
    types = source[source.index("static const char btf_str_sec[]") : source.index("static char bpf_vlog")]
    arrays, calls = ["#define FILL_ARRAY"], []
    for number, path in enumerate(sorted((selftests / "verifier").glob("*.c"))):
        arrays.append(f'static struct bpf_test tests_{number}[] = {{\n#include "{path}"\n}};')
        calls.append(f'ALL(tests_{number}, "{path.stem}")')
    (build / "cases.h").write_text("\n".join([declared, types, *arrays]))
    (build / "all.h").write_text("\n".join(calls))
    (build / "tools_filter.h").write_text(f'#include "{root / "tools/include/linux/filter.h"}"\n')
    headers = build / "linux"
    headers.mkdir(exist_ok=True)
    for name in ("bpf.h", "bpf_common.h", "bpf_perf_event.h", "btf.h"):  # the rest is the C library's
        (headers / name).write_text(f'#include "{root / "tools/include/uapi/linux" / name}"\n')


def load(root: Path, build: Path) -> list[Case]:
    """All selftests.  Raises CalledProcessError when gcc fails."""
    _prepare(root, build)
    includes = [build, root / "tools/testing/selftests/bpf"]
    command = ["gcc", "-w", "-O0", "-o", str(build / "dump"), str(HERE / "dump_selftests.c")]
    subprocess.run([*command, *(f"-I{path}" for path in includes)], check=True)
    text = subprocess.run([str(build / "dump")], check=True, capture_output=True, text=True).stdout
    return list(_parse(text))


def make_btf(types: bytes, strings: bytes) -> Btf:
    """BTF of its two sections."""
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return Btf(header + types + strings)


def _parse(text: str) -> list[Case]:
    head, *blocks = text.split("case ")
    shared = dict(line.split(" ", 1) for line in head.splitlines())
    map_btf = make_btf(bytes.fromhex(shared["map_btf_types"]), bytes.fromhex(shared["map_btf_strings"]))
    return [_case(block.splitlines(), map_btf) for block in blocks]


def _map(kind: str) -> Map:
    kind_number, key, value, entries, flags = _MAPS[kind]
    inner = Map("inner", b.BPF_MAP_TYPE_ARRAY, 4, 4, 1) if kind == "map_in_map" else None
    made = Map("test_map", kind_number, key, value, entries, flags=flags, inner=inner)
    if kind in _VALUE_TYPES:
        made.key_type, made.value_type = 1, _VALUE_TYPES[kind]
    return made


def _case(lines: list[str], map_btf: Btf) -> Case:
    one: dict[str, str] = {}
    maps: list[Map] = []
    places: dict[int, int] = {}
    functions: list[Function] = []
    kfuncs: list[tuple[str, int]] = []
    for line in lines[1:]:
        key, _, rest = line.partition(" ")
        if key == "map":
            kind, *at = rest.split()
            places |= {int(place): len(maps) for place in at}
            maps.append(_map(kind))
        elif key == "function":
            slot, type_id = map(int, rest.split())
            functions.append(Function(slot, f"func{slot}", type_id))
        elif key == "kfunc_at":
            name, _, at_slot = rest.partition(" ")
            kfuncs.append((name, int(at_slot)))
        else:
            one[key] = rest

    def word(key: str) -> str:
        return bytes.fromhex(one.get(key, "")).decode("latin-1")

    code = list(decode(bytes.fromhex(one["code"])))
    for place, number in places.items():
        code[place] = code[place]._replace(imm=number, src=_pseudo(code[place]))
    kind, attach_type, flags = map(int, one["type"].split())
    program = Program(
        code,
        type=kind or b.BPF_PROG_TYPE_SOCKET_FILTER,
        attach_type=attach_type,
        target=word("target"),
        maps=maps,
        functions=functions,
        flags=(flags & 1) << 1 | (flags & 2) >> 1 | flags & ~3,
    )
    program.btf = map_btf
    if "btf_types" in one:
        program.btf = make_btf(bytes.fromhex(one["btf_types"]), bytes.fromhex(one["btf_strings"]))
    result, unprivileged = map(int, one["result"].split())
    return Case(
        lines[0], word("descr"), program, result, unprivileged or result, word("errstr"),
        word("errstr_unpriv" if "errstr_unpriv" in one else "errstr"), tuple(kfuncs),
    )  # fmt: skip


def _pseudo(instruction: Instruction) -> int:
    if instruction.src == b.BPF_PSEUDO_MAP_FD:
        return b.BPF_PSEUDO_MAP_IDX
    if instruction.src == b.BPF_PSEUDO_MAP_VALUE:
        return b.BPF_PSEUDO_MAP_IDX_VALUE
    return instruction.src
