"""Finding the RAM of a guest among the files of a process."""

from __future__ import annotations

import os

import pytest

from linscope.errors import InputError, UnsupportedError
from linscope.memory.guests import find_guest_ram


def test_a_path_is_the_file_itself() -> None:
    assert find_guest_ram("/dev/shm/ram") == "/dev/shm/ram"


def test_the_largest_memory_file_of_a_process() -> None:
    with pytest.raises(UnsupportedError, match="share=on"):
        find_guest_ram(str(os.getpid()))
    small, large = os.memfd_create("small"), os.memfd_create("memory-backend-memfd")
    try:
        os.truncate(small, 17 << 20)
        os.truncate(large, 64 << 20)
        assert find_guest_ram(str(os.getpid())) == f"/proc/{os.getpid()}/fd/{large}"
    finally:
        os.close(small)
        os.close(large)


def test_processes_that_are_not_there() -> None:
    with pytest.raises(InputError, match="process 4194304"):
        find_guest_ram("4194304")
