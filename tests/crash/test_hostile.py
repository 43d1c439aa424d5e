"""Damaged and hostile kernels: answers or errors, nothing else, and not without end."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import damaged_kernels
import pytest

from linscope.crash.session import Session
from linscope.errors import FormatError, LinscopeError
from linscope.target.walks import iter_hlist, iter_list, iter_maple, iter_rbtree, iter_xarray


@pytest.mark.parametrize("seed", range(40))
def test_any_damage(session: Session, seed: int) -> None:
    try:
        hurt = Session(damaged_kernels.damaged(session.kernel, seed))
    except LinscopeError:
        return
    for line in damaged_kernels.lines(seed, 12):
        damaged_kernels.answer(hurt, line, ("text", "json")[seed % 2])


class Words:
    """Memory of a few words."""

    def __init__(self, words: dict[int, int]) -> None:
        self.words = words
        self.reads = 0

    def read(self, address: int, size: int) -> bytes:
        self.reads += 1
        words = [self.words.get(address + at, 0).to_bytes(8, "little") for at in range(0, max(size, 8), 8)]
        return b"".join(words)[:size]


@pytest.fixture
def with_words(session: Session) -> Callable[[dict[int, int]], Any]:
    """The kernel's types over a memory of a few words."""

    def make(words: dict[int, int]) -> Any:
        from linscope.target.objects import Space

        memory: Any = Words(words)
        return Space(memory, session.kernel.types)

    return make


def test_lists_that_go_in_circles(with_words: Callable[[dict[int, int]], Any]) -> None:
    space = with_words({0x1000: 0x2000, 0x2000: 0x3000, 0x3000: 0x2000})
    found = []
    with pytest.raises(FormatError, match="0x1000 goes in a circle at 0x2000"):
        for address in iter_list(space, 0x1000):
            found.append(address)
    assert found == [0x2000, 0x3000]
    with pytest.raises(FormatError, match="ends with NULL"):
        list(iter_list(with_words({0x1000: 0x2000}), 0x1000))
    with pytest.raises(FormatError, match="circle"):
        list(iter_hlist(with_words({0x1000: 0x2000, 0x2000: 0x2000}), 0x1000))


def test_trees_that_go_in_circles(with_words: Callable[[dict[int, int]], Any]) -> None:
    with pytest.raises(FormatError, match="circle"):
        list(iter_rbtree(with_words({0x1000: 0x2000, 0x2010: 0x2000}), 0x1000))
    with pytest.raises(FormatError, match="circle"):
        list(iter_rbtree(with_words({0x1000: 0x2000, 0x2008: 0x3000, 0x3008: 0x2000}), 0x1000))
    slots = {0x2000 + 8 * place: 0x2002 for place in range(80)}
    with pytest.raises(LinscopeError):
        list(iter_xarray(with_words(slots), 0x2002))
    node = 0x10000
    itself = {node + 8 * place: node | 2 << 3 | 2 for place in range(32)}
    space = with_words({0x1000 + 8 * at: node | 2 << 3 | 2 for at in range(4)} | itself)
    with pytest.raises(LinscopeError):
        list(iter_maple(space, 0x1000))


def test_a_stack_that_goes_in_a_circle_ends(session: Session) -> None:
    """Each frame of random words: a stack has an end, whatever is on it."""
    kernel = session.kernel
    rng = random.Random(3)
    text = kernel.symbol("_stext")
    for _ in range(200):
        pc, sp = text + rng.randrange(1 << 22), 0xFFFFD1ADC0010000 + 8 * rng.randrange(2048)
        frames, why = kernel.unwinder.unwind(pc, sp, rng.randrange(1 << 64))
        assert len(frames) <= 512 and isinstance(why, str)
