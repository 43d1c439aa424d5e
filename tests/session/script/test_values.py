"""Values as bpftrace shows them: text, and JSON."""

from __future__ import annotations

import json
import struct

import pytest

from linscope.lang import types as t
from linscope.session.script.clock import Clocks
from linscope.session.script.gfp import gfp_text
from linscope.session.script.resolver import Resolver
from linscope.session.script.values import json_integer, json_string, make_codec

RESOLVER = Resolver({"str_trunc_trailer": ".."})
POINT = t.Struct("point", 8, lambda: [t.Field("m", t.INT32, 0), t.Field("n", t.INT32, 4)])
BITS = t.Struct("bits", 4, lambda: [t.Field("low", t.UINT32, 0, 0, 3), t.Field("high", t.INT32, 0, 3, 5)])
COLOR = t.Enum("color", 4, False, {1: "RED", 7: "BLUE"})
INET6 = struct.pack("<I", 10) + bytes(15) + b"\1"


@pytest.mark.parametrize(
    ("type", "data", "text", "as_json"),
    [
        (t.INT8, b"\x9c", "-100", "-100"),
        (t.UINT64, b"\xff" * 8, "18446744073709551615", '"18446744073709551615"'),
        (t.BOOL, b"\1", "true", "true"),
        (COLOR, b"\7\0\0\0", "BLUE", "7"),
        (COLOR, b"\x64\0\0\0", "100", "100"),
        (t.Pointer(t.INT16), struct.pack("<Q", 0x32), "0x32", "50"),
        (t.String(8), b"ab\0\0\0\0\0\0", "ab", '"ab"'),
        (t.String(5, 4), b"/bin\0", "/bin..", '"/bin.."'),
        (t.Buffer(8), b"\7\0\0\0ok_key\0\0", "ok_key\\x00", "[111,107,95,107,101,121,0]"),
        (t.Array(t.INT32, 2), struct.pack("<ii", 1, -2), "[1,-2]", "[1,-2]"),
        (t.Array(t.Array(t.INT8, 2), 2), b"\5\6\7\x08", "[[5,6],[7,8]]", "[[5,6],[7,8]]"),
        (t.Tuple((t.INT8, t.String(3), t.Tuple((t.INT8, t.INT8)))), b"\1hi\0\2\3", "(1, hi, (2, 3))", '[1,"hi",[2,3]]'),
        (t.Tuple((t.INT8, t.INT64), ("a", "b")), struct.pack("<b7xq", 1, 2), "{ .a = 1, .b = 2 }", '{"a": 1, "b": 2}'),
        (POINT, struct.pack("<ii", 2, 3), "{ .m = 2, .n = 3 }", '{"m": 2, "n": 3}'),
        (BITS, b"\xfd\0\0\0", "{ .low = 5, .high = -1 }", '{"low": 5, "high": -1}'),
        (t.Void(4), bytes(4), "null", "null"),
        (t.Inet(), struct.pack("<I", 2) + b"\x7f\0\0\1" + bytes(12), "127.0.0.1", '"127.0.0.1"'),
        (t.Inet(), INET6, "::1", '"::1"'),
        (t.Mac(), b"\5\4\3\2\1\2", "05:04:03:02:01:02", '"05:04:03:02:01:02"'),
        (t.ErrorText(), struct.pack("<Q", 7), "Argument list too long", '"Argument list too long"'),
        (t.SyscallName(), struct.pack("<Q", 1), "write", '"write"'),
        (t.SignalName(), struct.pack("<Q", 9), "SIGKILL", '"SIGKILL"'),
        (t.UserName(), struct.pack("<Q", 0), "root", '"root"'),
        (t.ProbeName(("begin", "end")), struct.pack("<Q", 1), "end", '"end"'),
    ],
)
def test_values(type: t.Type, data: bytes, text: str, as_json: str) -> None:
    codec = make_codec(type, RESOLVER)
    value = codec.read(b"12345" + data, 5)
    assert codec.text(value) == text
    assert codec.json(value) == as_json
    json.loads(codec.json(value))


def test_strings_of_json_survive_everything() -> None:
    for text in ("plain", 'a "b" \\ \n\r\t', "\x01\x1f", "ünï", "\udcff"):
        assert json.loads(json_string(text)) == text.replace("\udcff", "�")
    assert json_integer(1 << 53) == str(1 << 53)
    assert json_integer((1 << 53) + 1) == f'"{(1 << 53) + 1}"'


def test_allocation_flags() -> None:
    assert [gfp_text(flags) for flags in (0, 1, 0xCC0, 0xDC0)] == [
        "none", "GFP_DMA", "GFP_KERNEL", "GFP_KERNEL|__GFP_ZERO",
    ]  # fmt: skip


def test_times_keep_their_distances() -> None:
    """Microseconds are bpftrace's %f; both times are moved by the same."""
    text = Clocks().formatter("%s.%f", "monotonic")
    first, second = text(0), text(1_000_123_000)
    micros = [int(part.replace(".", "")) for part in (first, second)]
    assert micros[1] - micros[0] == 1_000_123


def test_wall_time_is_now() -> None:
    import time

    text = Clocks().formatter("%s", "monotonic")
    assert abs(int(text(time.monotonic_ns())) - time.time()) < 2
