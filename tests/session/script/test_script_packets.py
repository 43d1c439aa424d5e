"""skboutput(): packets of the kernel in a pcap file."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from linscope.errors import SourceError
from linscope.lang.bpftrace.compiler import compile
from linscope.lang.bpftrace.options import Options
from linscope.lang.built import PACKETS
from linscope.lang.codegen import generate

kernel = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="programs are loaded into the kernel: run as root"),
]
SENDER = """
import socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for size in (1, 100, 20_000):
    sender.sendto(bytes(n % 251 for n in range(size)), receiver.getsockname())
"""


def packets(path: Path) -> list[tuple[float, bytes]]:
    """(time in seconds, bytes) of each packet, by pcap-savefile(5)."""
    data = path.read_bytes()
    magic, major, minor, _, _, longest, kind = struct.unpack_from("=IHHiIII", data)
    assert (magic, major, minor, longest, kind) == (0xA1B23C4D, 2, 4, 65535, 101)
    found, at = [], 24
    while at < len(data):
        seconds, nanoseconds, here, whole = struct.unpack_from("=IIII", data, at)
        assert here == whole
        found.append((seconds + nanoseconds / 1e9, data[at + 16 : at + 16 + here]))
        at += 16 + here
    return found


def trace(script: str, folder: Path, *, expected: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a script over the sender."""
    program = folder / "sender.py"
    program.write_text(SENDER)
    done = subprocess.run(
        [sys.executable, "-m", "linscope", "trace", "-q", "-e", script, "-c", f"{sys.executable} -S -E {program}"],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == expected, done
    return done


@pytest.mark.kernel
@kernel[1]
def test_packets_that_were_sent(tmp_path: Path) -> None:
    """The loopback's have an Ethernet header, which is left out, and fragments, which are not."""
    before = time.time()
    script = (
        'rawtracepoint:net_dev_queue /pid == cpid/ { $r = skboutput("out.pcap", args.skb, args.skb.len, 14); '
        r'printf("%d %d\n", $r, args.skb.len); }'
    )
    done = trace(script, tmp_path)
    assert done.stdout.split("\n")[:3] == ["0 43", "0 142", "0 20042"]
    found = packets(tmp_path / "out.pcap")
    for size, (at, packet) in zip((1, 100, 20_000), found, strict=True):
        assert before <= at <= time.time()
        assert packet[0] == 0x45 and packet[9] == 17  # IPv4 without options, UDP
        assert struct.unpack_from(">H", packet, 2)[0] == len(packet) == 28 + size
        assert packet[28:] == bytes(n % 251 for n in range(size))


@pytest.mark.kernel
@kernel[1]
def test_the_beginning_of_packets_in_two_files(tmp_path: Path) -> None:
    """Also from a function of the script; one that is shorter than what is asked for is an error (EFAULT)."""
    script = (
        'fn keep($skb: struct sk_buff *): int64 { return skboutput("a.pcap", $skb, 60, 14); } '
        "rawtracepoint:net_dev_queue /pid == cpid/ { print(keep(args.skb)); "
        'print(skboutput("b.pcap", (struct sk_buff *)arg0, 34, 14)) }'
    )
    done = trace(script, tmp_path)
    assert done.stdout.split() == ["-14", "0", "0", "0", "0", "0"]
    assert [len(packet) for _, packet in packets(tmp_path / "a.pcap")] == [46, 46]
    assert [len(packet) for _, packet in packets(tmp_path / "b.pcap")] == [20, 20, 20]


@pytest.mark.kernel
@kernel[1]
def test_a_file_that_cannot_be_written_is_said_first(tmp_path: Path) -> None:
    script = 'rawtracepoint:net_dev_queue { $r = skboutput("/nowhere/at.pcap", args.skb, 60, 14) }'
    done = trace(script, tmp_path, expected=1)
    assert "cannot write packets" in done.stderr and "No such file or directory" in done.stderr


@pytest.mark.kernel
@kernel[1]
def test_other_helpers_that_want_typed_arguments(tmp_path: Path) -> None:
    """Of two raw tracepoints, which become two programs."""
    script = (
        "rawtracepoint:sock_send_length,rawtracepoint:sk_data_ready /pid == cpid/ "
        "{ @[socket_cookie(args.sk) > 0] = count() }"
    )
    done = trace(script, tmp_path)
    assert done.stdout.strip() == "@[true]: 6", done


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('kprobe:dev_queue_xmit { skboutput("a", arg0, 1, 0) }',
         "The skboutput function can only be used with 'fentry', 'fexit', 'rawtracepoint' probes"),
        ('rawtracepoint:consume_skb { skboutput("", arg0, 1, 0) }', "needs the name of a file"),
        ('rawtracepoint:consume_skb { skboutput(comm, arg0, 1, 0) }', "skboutput()'s file"),
        ('rawtracepoint:consume_skb { skboutput("a", arg0, 1, pid) }', "skboutput()'s offset"),
        ('rawtracepoint:consume_skb { skboutput("a", arg0, 1, -1) }', "cannot leave out -1 bytes"),
        ('rawtracepoint:consume_skb { skboutput("a", arg0, 1) }', "requires 4 arguments"),
    ],
)  # fmt: skip
def test_what_it_takes(script: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        compile(script, where="test", options=Options())
    assert message in str(caught.value)


def test_only_scripts_with_packets_have_their_map() -> None:
    unit = compile('rawtracepoint:consume_skb { skboutput("a", arg0, 1, 0) }', where="test", options=Options())
    assert generate(unit).place(PACKETS) is not None
    assert generate(compile("begin { print(1) }", where="test", options=Options())).place(PACKETS) is None
