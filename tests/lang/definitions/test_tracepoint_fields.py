"""Fields of tracepoints: the formats of this kernel, and of some that have what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from linscope.errors import LinscopeError
from linscope.lang import types as t
from linscope.lang.definitions import Definitions
from linscope.lang.definitions.tracepoints import parse_format, tracing_folder


@pytest.fixture(scope="module")
def events() -> Path:
    try:
        folder = Path(tracing_folder(), "events")
        next(folder.iterdir())
    except (LinscopeError, OSError) as error:
        pytest.skip(f"run as root: {error}")
    return folder


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return Definitions([])


def fields_of(text: str) -> list[tuple[str, int, int, bool]]:
    """(declaration, offset, size, signed) as the lines say, without the common ones."""
    found = []
    for line in text.partition("\n\n")[2].splitlines():
        if line.startswith("\tfield:"):
            parts = [part.strip().partition(":")[2] for part in line.split(";")[:4]]
            found.append((parts[0], int(parts[1]), int(parts[2]), parts[3] == "1"))
    return found


def test_every_event_of_this_kernel_converts(events: Path, definitions: Definitions) -> None:
    count = 0
    for path in events.glob("*/*/format"):
        text = path.read_text()
        system, event = path.parts[-3:-1]
        if system == "ftrace":
            continue
        found = definitions.tracepoint(system, event)
        assert found is not None, path
        said = fields_of(text)
        assert len(said) == len(found.fields), path
        for (declaration, offset, size, signed), field in zip(said, found.fields, strict=True):
            where = f"{system}:{event} {declaration}"
            assert field.offset == offset, where
            assert declaration.rpartition(" ")[2].partition("[")[0].lstrip("*") == field.name, where
            if field.location:
                assert size == 4, where
                assert declaration.startswith(("__data_loc", "__rel_loc")), where
            else:
                assert field.type.size == size, where
            if isinstance(field.type, t.Int) and not field.location:
                assert field.type.signed == signed, where
        count += 1
    assert count > 500


def find(definitions: Definitions, system: str, event: str, name: str) -> t.Field:
    found = definitions.tracepoint(system, event)
    if found is None:
        pytest.skip(f"no tracepoint {system}:{event} here")
    field = found.find(name)
    assert field is not None
    return field


def test_kinds_of_fields(events: Path, definitions: Definitions) -> None:
    assert find(definitions, "sched", "sched_switch", "prev_comm").type == t.String(16)
    assert find(definitions, "sched", "sched_switch", "prev_pid").type == t.INT32
    name = find(definitions, "syscalls", "sys_enter_openat", "filename")
    assert name.offset == 24
    assert isinstance(name.type, t.Pointer)
    assert name.type.space == t.USER
    assert name.type.target == t.INT8
    assert find(definitions, "syscalls", "sys_enter_openat", "dfd").offset == 16
    assert find(definitions, "syscalls", "sys_exit_openat", "ret").offset == 16
    sock = find(definitions, "skb", "kfree_skb", "skbaddr")
    assert isinstance(sock.type, t.Pointer)
    file = find(definitions, "sched", "sched_process_exec", "filename")
    assert file.location == "data_loc"
    assert isinstance(file.type, t.String)


def test_no_such_tracepoint(events: Path, definitions: Definitions) -> None:
    assert definitions.tracepoint("sched", "no_such_event") is None
    assert definitions.tracepoint("no_such_system", "x") is None
    assert definitions.tracepoint("", "") is None


FORMAT = """name: made
ID: 1
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:u8 mac[6];\toffset:8;\tsize:6;\tsigned:0;
\tfield:__rel_loc char[] name;\toffset:16;\tsize:4;\tsigned:0;
\tfield:__data_loc u32[] numbers;\toffset:20;\tsize:4;\tsigned:0;
\tfield:unsigned long args[6];\toffset:24;\tsize:48;\tsigned:0;
\tfield:bool flag;\toffset:72;\tsize:1;\tsigned:0;
\tfield:const char * const * argv;\toffset:80;\tsize:8;\tsigned:0;
\tfield:enum no_such_enum kind;\toffset:88;\tsize:4;\tsigned:1;
\tfield:__u8 saddr_v6[16];\toffset:92;\tsize:16;\tsigned:0;
\tfield:char comm[];\toffset:108;\tsize:0;\tsigned:0;
\tfield:struct no_such_struct s;\toffset:108;\tsize:12;\tsigned:0;
\tfield:char names[TASK_COMM_LEN];\toffset:120;\tsize:16;\tsigned:0;
\tfield:s64 *p;\toffset:136;\tsize:8;\tsigned:0;

print fmt: "%d", REC->flag
"""


def test_a_made_up_format() -> None:
    found = parse_format(FORMAT, "made", lambda tag, name: None, string_size=65)
    by_name = {field.name: field for field in found.fields}
    assert by_name["mac"].type == t.Array(t.UINT8, 6)
    assert by_name["name"].location == "rel_loc"
    assert by_name["name"].type == t.String(65)
    assert by_name["numbers"].location == "data_loc"
    assert isinstance(by_name["numbers"].type, t.Array)
    assert by_name["numbers"].type.element == t.UINT32
    assert by_name["args"].type == t.Array(t.UINT64, 6)
    assert by_name["flag"].type == t.BOOL
    argv = by_name["argv"].type
    assert isinstance(argv, t.Pointer)
    assert isinstance(argv.target, t.Pointer)
    assert argv.target.target == t.INT8
    assert by_name["kind"].type == t.INT32
    assert by_name["saddr_v6"].type == t.Array(t.UINT8, 16)
    assert by_name["s"].type.size == 12
    assert by_name["names"].type == t.String(16)
    assert isinstance(by_name["p"].type, t.Pointer)
    assert found.size == 144
    assert not any(field.name.startswith("common_") for field in found.fields)


def test_numbers_of_system_calls(definitions: Definitions) -> None:
    assert definitions.syscall_number("sys_enter_openat") == 257
    assert definitions.syscall_number("sys_exit_read") == 0
    assert definitions.syscall_number("sys_enter_no_such_call") is None
