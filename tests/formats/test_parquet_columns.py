"""Records of trace events become columns, and the same records again."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linscope.binfmt.event_format import parse_format
from linscope.formats.parquet.event_columns import RECORD, EventColumns

HEAD = """name: one
ID: 77
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""
FIELDS = """\tfield:u64 number;\toffset:8;\tsize:8;\tsigned:0;
\tfield:short small;\toffset:16;\tsize:2;\tsigned:1;
\tfield:bool good;\toffset:18;\tsize:1;\tsigned:0;
\tfield:char comm[8];\toffset:20;\tsize:8;\tsigned:0;
\tfield:unsigned int three[3];\toffset:28;\tsize:12;\tsigned:0;
\tfield:struct odd thing;\toffset:40;\tsize:5;\tsigned:0;
\tfield:__data_loc char[] name;\toffset:48;\tsize:4;\tsigned:0;
\tfield:__data_loc u16[] words;\toffset:52;\tsize:4;\tsigned:0;
\tfield:__rel_loc u8[] raw;\toffset:56;\tsize:4;\tsigned:0;

print fmt: ""
"""
WIDTH = 60
HOLES = {19, 45, 46, 47}


def columns(fields: str = FIELDS, **how: object) -> EventColumns:
    form = parse_format(HEAD + fields, "test")
    assert form is not None
    return EventColumns(form, taken=("row", "comm"), **how)  # type: ignore[arg-type]


def record(
    number: int = 0, small: int = 0, good: int = 0, comm: bytes = b"", three: tuple[int, ...] = (1, 2, 3),
    thing: bytes = b"", name: bytes = b"", words: tuple[int, ...] = (), raw: bytes = b"", order: str = "<",
) -> bytes:  # fmt: skip
    """A record as the kernel lays it out."""
    at = [WIDTH, WIDTH + len(name) + 1, WIDTH + len(name) + 1 + 2 * len(words)]
    sizes = [len(name) + 1, 2 * len(words), len(raw)]
    places = [size << 16 | place for size, place in zip(sizes, at, strict=True)]
    places[2] = sizes[2] << 16 | at[2] - 60
    head = struct.pack(order + "HBBiQhBx8s3I5s3x3I", 77, 1, 2, 5, number, small, good, comm, *three, thing, *places)
    tail = name + b"\0" + struct.pack(f"{order}{len(words)}H", *words) + raw
    return head + tail + bytes(-len(head + tail) % 8)


def encode(made: EventColumns, records: list[bytes]) -> pa.RecordBatch:
    sizes = np.array([len(one) for one in records], np.uint32)
    at = (np.cumsum(sizes) - sizes).astype(np.uint64)
    return pa.RecordBatch.from_arrays(made.encode(b"".join(records) or b"\0", at, sizes), schema=pa.schema(made.fields))


def decode(made: EventColumns, batch: pa.RecordBatch) -> list[bytes]:
    data, at, size = made.decode(batch)
    return [bytes(data[a : a + n]) for a, n in zip(at.tolist(), size.tolist(), strict=True)]


def same(made: bytes, recorded: bytes) -> bool:
    """Whether a record has the bytes of another, but for the holes between fields and what fills it up."""
    made, recorded = made.ljust(len(recorded), b"\0"), recorded.ljust(len(made), b"\0")
    return all(a == b for n, (a, b) in enumerate(zip(made, recorded, strict=True)) if n not in HOLES)


def test_values_and_their_types() -> None:
    made = columns()
    batch = encode(made, [record(2**64 - 1, -2, 1, b"sh", thing=b"abcde", name="größe".encode(), words=(1, 65535))])
    assert batch.to_pylist() == [{
        "common_flags": 1, "common_preempt_count": 2, "common_pid": 5, "number": 2**64 - 1, "small": -2, "good": True,
        "args_comm": "sh", "three": [1, 2, 3], "thing": b"abcde", "name": "größe", "words": [1, 65535], "raw": b"",
        RECORD: None,
    }]  # fmt: skip
    assert batch.schema.field("three").type == pa.list_(pa.uint32(), 3)
    assert batch.schema.field("small").type == pa.int16()


@given(
    st.lists(
        st.builds(
            record, st.integers(0, 2**64 - 1), st.integers(-(2**15), 2**15 - 1), st.integers(0, 3),
            st.binary(max_size=8), st.tuples(*[st.integers(0, 2**32 - 1)] * 3), st.binary(max_size=5),
            st.binary(max_size=12), st.lists(st.integers(0, 65535), max_size=4).map(tuple), st.binary(max_size=5),
        ),
        max_size=8,
    ),
    st.integers(0, 400), st.integers(0, 90),
)  # fmt: skip
def test_the_way_there_and_back(records: list[bytes], damage: int, length: int) -> None:
    """Also of records that are damaged, or cut short."""
    if damage < 100 and records:
        first = bytearray(records[0])
        first[damage % len(first)] ^= 0x41
        records = [bytes(first), *records[1:], records[-1][:length]]
    made = columns()
    batch = encode(made, records)
    batch.validate(full=True)
    again = decode(made, batch)
    assert len(again) == len(records)
    for ours, recorded in zip(again, records, strict=True):
        assert same(ours, recorded)


def test_only_what_columns_do_not_tell_is_kept_as_it_was() -> None:
    kept = [record(comm=b"a\0b"), record(name=b"\xff"), record(good=2), record(name=b"a\0b"), record()[:40]]
    batch = encode(columns(), [record(comm=b"12345678", name=b"x" * 99, words=(1,) * 9, raw=b"12"), *kept])
    assert [one is not None for one in batch.column(RECORD).to_pylist()] == [False, True, True, True, True, True]
    assert batch.column("args_comm").to_pylist()[1] == "a"
    assert batch.column("name").to_pylist()[2] == "\N{REPLACEMENT CHARACTER}"


def test_big_endian_records_become_little_endian_ones() -> None:
    made = columns(big_endian=True)
    values = (1 << 40, -5, 1, b"sh", (7, 8, 9))
    batch = encode(made, [record(*values, name=b"name", words=(3, 4), order=">")])
    assert batch.column("number").to_pylist() == [1 << 40]
    assert batch.column("words").to_pylist() == [[3, 4]]
    assert same(decode(made, batch)[0], record(*values, name=b"name", words=(3, 4)))


def test_what_other_tools_make_of_types() -> None:
    """Columns that come back wider, or with nulls, or in slices."""
    made = columns()
    batch = encode(made, [record(n, small=n, comm=b"c%d" % n, name=b"n" * n) for n in range(6)])
    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
    arrays["small"] = arrays["small"].cast(pa.int64())
    arrays["name"] = arrays["name"].cast(pa.large_string())
    arrays["number"] = pa.array([None, 1, 2, 3, 4, 5], pa.uint64())
    arrays["three"] = pa.array([None, *[[1, 2, 3]] * 5], pa.list_(pa.uint32(), 3))
    arrays["words"] = pa.array([None, *[[]] * 5], pa.list_(pa.uint16()))
    again = decode(made, pa.RecordBatch.from_pydict(arrays).slice(1, 4))
    assert all(same(a, record(n, small=n, comm=b"c%d" % n, name=b"n" * n)) for n, a in enumerate(again, 1))
    first = decode(made, pa.RecordBatch.from_pydict(arrays))[0]
    assert same(first, record(three=(0, 0, 0), comm=b"c0"))


def test_the_tail_of_a_record() -> None:
    made = columns("\tfield:unsigned long ip;\toffset:8;\tsize:8;\tsigned:0;\n"
                   "\tfield:char buf[];\toffset:16;\tsize:0;\tsigned:0;\n\nprint fmt: \"\"\n")  # fmt: skip
    records = [struct.pack("<HBBiQ", 77, 0, 0, 1, 9) + text for text in (b"hello\0\0\0", b"x\0", b"no end", b"")]
    batch = encode(made, records)
    assert batch.column("buf").to_pylist() == ["hello", "x", "no end", ""]
    again = decode(made, batch)
    assert all(ours.startswith(recorded.rstrip(b"\0")) for ours, recorded in zip(again, records, strict=True))


def test_a_column_that_is_not_there() -> None:
    made = columns()
    with pytest.raises(KeyError, match="small"):
        made.decode(encode(made, [record()]).drop_columns(["small"]))
