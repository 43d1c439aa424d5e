"""Named tuples without typing behave as those with it."""

from __future__ import annotations

import pickle
from typing import NamedTuple as Theirs

import pytest

from linscope.binfmt.records import NamedTuple


class Mine(NamedTuple):
    a: int
    b: str = "x"

    @property
    def twice(self) -> int:
        return 2 * self.a  # type: ignore[no-any-return, operator]


class Other(Theirs):
    a: int
    b: str = "x"


def test_the_same_as_typing_s() -> None:
    for made in (Mine, Other):
        value = made(1)
        assert value == made(1, "x") == made(b="x", a=1) == (1, "x")
        assert (value.a, value.b) == (1, "x")
        assert hash(value) == hash((1, "x"))
        assert value._replace(b="y") == made(1, "y")
        match value:
            case made(a=first, b="x"):
                assert first == 1
            case _:
                pytest.fail("no match")
    assert Mine(3).twice == 6
    assert repr(Mine(1)) == "Mine(a=1, b='x')"
    assert pickle.loads(pickle.dumps(Mine(5, "y"))) == Mine(5, "y")


@pytest.mark.parametrize("arguments", [(), (1, 2, 3)])
def test_a_wrong_number_is_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(TypeError):
        Mine(*arguments)
    with pytest.raises(TypeError):
        Mine(1, c=2)
