"""Programs made at random, with their results by a plain model of the intermediate form."""

from __future__ import annotations

import random

import pytest
from codegen_units import Outcome, Place, number, printf, unit
from ir_model import Model

from linscope.lang import ir
from linscope.lang import types as t

INTS = [t.INT8, t.INT16, t.INT32, t.INT64, t.UINT8, t.UINT16, t.UINT32, t.UINT64]
SHORT, LONG = t.String(24), t.String(300)
PAIR = t.Tuple((t.INT32, t.INT64, SHORT))
PARTS = list(zip((0, 8, 16), PAIR.elements, strict=True))
EDGES = [0, 1, -1, 2, 7, 63, 64, 127, 128, 255, 32767, 1 << 31, (1 << 31) - 1, (1 << 63) - 1, -(1 << 63)]


class Maker:
    """Statements and expressions of any type."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        pick = self.random.choice
        self.variables = [ir.Variable(f"$v{at}", pick([*INTS, t.INT64, SHORT, LONG, PAIR])) for at in range(8)]
        self.maps = [
            ir.Map("@one", None, pick(INTS)), ir.Map("@pair", None, PAIR), ir.Map("@n", t.INT64, t.INT64),
            ir.Map("@small", pick(INTS), pick(INTS)), ir.Map("@tuple", PAIR, LONG), ir.Map("@text", SHORT, PAIR),
        ]  # fmt: skip
        self.loops = 0
        self.functions = 0
        self.count = 0
        self.events: list[ir.Event] = []

    # -- expressions

    def scalar(self, type: t.Type, depth: int) -> ir.Expression:
        """A scalar of a type."""
        from ir_model import wrap

        pick = self.random.choice
        if depth <= 0 or self.random.random() < 0.15:
            known = [one for one in self.variables if one.type == type]
            if known and self.random.random() < 0.5:
                return ir.Get(type, pick(known))
            if self.random.random() < 0.4:
                return ir.FromContext(type, 8 * self.random.randrange(12))
            return number(wrap(pick([*EDGES, self.random.getrandbits(64)]), type), type)
        kind = self.random.randrange(12)
        if kind < 4:
            sign = pick(["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"])
            return ir.Binary(type, sign, self.scalar(type, depth - 1), self.scalar(type, depth - 1))
        if kind == 4:
            return ir.Unary(type, pick("-~"), self.scalar(type, depth - 1))
        if kind == 5:
            return ir.Choice(
                type, self.condition(depth - 1), self.scalar(type, depth - 1), self.scalar(type, depth - 1)
            )
        if kind == 6:
            return ir.Convert(type, self.scalar(pick(INTS), depth - 1))
        if kind == 7:
            return ir.Convert(type, self.condition(depth - 1))
        if kind == 8:
            return ir.Convert(type, self.about_text(depth - 1))
        if kind == 9:
            one = pick([self.maps[0], self.maps[2], self.maps[3]])
            key = None if one.key is None else self.scalar(one.key, depth - 1)
            return ir.Convert(type, ir.MapGet(one.value, one, key))
        if kind == 10:
            one = pick([self.maps[0], self.maps[2]])
            key = None if one.key is None else self.scalar(one.key, depth - 1)
            added = ir.MapAdd(one.value, one, key, self.scalar(one.value, depth - 1), self.random.random() < 0.5)
            return ir.Convert(type, added)
        offset, part = pick(PARTS[:2])
        return ir.Convert(type, ir.Part(part, self.memory(PAIR, depth - 1), offset))

    def condition(self, depth: int) -> ir.Expression:
        """A Bool."""
        pick = self.random.choice
        kind = self.random.randrange(7) if depth > 0 else 0
        if kind == 1:
            return ir.Logical(t.BOOL, pick(["&&", "||"]), self.condition(depth - 1), self.condition(depth - 1))
        if kind == 2:
            return ir.Unary(t.BOOL, "!", self.condition(depth - 1))
        if kind == 3:
            one = pick(self.maps[2:])
            assert one.key is not None
            return ir.MapHas(t.BOOL, one, self.any(one.key, depth - 1))
        if kind == 4:
            return ir.Compare(t.BOOL, pick(["==", "!="]), self.memory(PAIR, depth - 1), self.memory(PAIR, depth - 1))
        type = pick(INTS)
        sign = pick(["==", "!=", "<", "<=", ">", ">="])
        return ir.Compare(t.BOOL, sign, self.scalar(type, depth - 1), self.scalar(type, depth - 1))

    def about_text(self, depth: int) -> ir.Expression:
        """An Int of a string."""
        kinds = [SHORT, LONG]
        left = self.memory(self.random.choice(kinds), depth - 1)
        right = self.memory(self.random.choice(kinds), depth - 1)
        kind = self.random.randrange(3)
        if kind == 0:
            return ir.StringLength(t.INT64, left)
        if kind == 1:
            return ir.CompareStrings(t.INT64, left, right, self.random.choice([None, 0, 1, 5]))
        return ir.FindString(t.INT64, left, right)

    def memory(self, type: t.Type, depth: int) -> ir.Expression:
        """A String or a Tuple."""
        pick = self.random.choice
        known = [one for one in self.variables if one.type == type]
        kind = self.random.randrange(6) if depth > 0 else 0
        if kind < 2 and known:
            return ir.Get(type, pick(known))
        if kind == 2:
            return ir.Choice(
                type, self.condition(depth - 1), self.memory(type, depth - 1), self.memory(type, depth - 1)
            )
        if kind == 3 and type == PAIR:
            return ir.MapGet(type, self.maps[1], None)
        if kind == 4:
            one = self.maps[5] if type == PAIR else self.maps[4] if type == LONG else None
            if one is not None and one.key is not None:
                return ir.MapGet(type, one, self.memory(one.key, depth - 1))
            return ir.Part(SHORT, self.memory(PAIR, depth - 1), 16)
        if kind == 5:
            return ir.Do(type, self.body(1, depth - 1), self.memory(type, depth - 1))
        if type == PAIR:
            parts = [part for part in PARTS if self.random.random() < 0.9]
            return ir.Build(PAIR, [(offset, self.any(part, depth - 1)) for offset, part in parts])
        length = self.random.randrange(24 if type == SHORT else 60)
        return ir.Bytes(type, bytes(self.random.choice(b"ab") for _ in range(length)))

    def any(self, type: t.Type, depth: int) -> ir.Expression:
        """An expression of a type."""
        return self.scalar(type, depth) if type.is_scalar else self.memory(type, depth)

    # -- statements

    def body(self, count: int, depth: int) -> list[ir.Statement]:
        """Some statements."""
        return [self.statement(depth) for _ in range(self.random.randrange(count + 1))]

    def statement(self, depth: int) -> ir.Statement:
        """One."""
        pick = self.random.choice
        kind = self.random.randrange(13)
        if kind < 3 or depth <= 0:
            one = pick(self.variables)
            return ir.Set(one, None if self.random.random() < 0.1 else self.any(one.type, depth))
        if kind < 6:
            target = pick(self.maps)
            key = None if target.key is None else self.any(target.key, depth - 1)
            return ir.MapSet(target, key, self.any(target.value, depth - 1))
        if kind == 6:
            event = printf(*(pick([*INTS, SHORT, LONG, PAIR]) for _ in range(self.random.randrange(4))))
            self.events.append(event)
            return ir.Emit(event, [self.any(one, depth - 1) for one in event.values])
        if kind == 7:
            target = pick(self.maps[2:])
            assert target.key is not None
            return ir.Evaluate(ir.MapDelete(t.BOOL, target, self.any(target.key, depth - 1)))
        if kind == 8 and self.loops < 2:
            self.loops += 1
            self.count += 1
            one = ir.Variable(f"$i{self.count}", t.INT64)
            first = number(self.random.randrange(3))
            body = [*self.body(2, depth - 2), *self.leaving(depth - 2)]
            self.loops -= 1
            start = ir.Variable(f"$s{self.count}", t.INT64)
            return ir.ForRange(one, first, number(self.random.randrange(5)), body, start)
        if kind == 9 and self.loops < 2:
            self.loops += 1
            self.count += 1
            counter = ir.Variable(f"$w{self.count}", t.INT64)
            more = ir.Binary(t.INT64, "+", ir.Get(t.INT64, counter), number(1))
            body = [ir.Set(counter, more), *self.leaving(depth - 2), *self.body(2, depth - 2)]
            self.loops -= 1
            below = ir.Compare(t.BOOL, "<", ir.Get(t.INT64, counter), number(4))
            return ir.While(ir.Logical(t.BOOL, "&&", below, self.condition(0)), body)
        if kind == 11:
            self.functions += 1
            body = [*self.body(2, depth - 1), *self.leaving_function(depth - 1), *self.body(1, depth - 1)]
            self.functions -= 1
            return ir.Inlined(body)
        if kind == 12 and self.functions:
            return ir.If(self.condition(depth - 1), [*self.body(1, depth - 1), ir.Leave()], self.body(1, depth - 1))
        if kind == 10 and self.random.random() < 0.2:
            return ir.If(self.condition(depth - 1), [ir.Return(self.scalar(t.INT64, depth - 1))], [])
        return ir.If(self.condition(depth - 1), self.body(2, depth - 1), self.body(2, depth - 1))

    def leaving_function(self, depth: int) -> list[ir.Statement]:
        """The end of a function, perhaps."""
        some = self.random.randrange(4)
        if not some:
            return [ir.Leave()]
        return [ir.If(self.condition(depth), [ir.Leave()], self.body(1, depth))] if some > 1 else []

    def leaving(self, depth: int) -> list[ir.Statement]:
        """A break or continue now and then."""
        if self.random.random() < 0.5:
            return []
        return [ir.If(self.condition(depth), [self.random.choice([ir.Break(), ir.Continue()])], [])]


def differences(seed: int, place: Place, *, checked: bool) -> list[str]:
    """Where a run differs from the model."""
    maker = Maker(seed)
    depth = 3 + seed % 3
    body = [*maker.body(6, depth), maker.statement(depth)]
    for one in maker.variables:  # their last values
        event = printf(one.type)
        maker.events.append(event)
        body.append(ir.Emit(event, [ir.Get(one.type, one)]))
    if seed % 5 == 4:
        body = [ir.If(maker.condition(2), body, [])]
    context = maker.random.randbytes(96)
    settings: dict[str, str | int] = {"on_stack_limit": (32, 8, 128)[seed // 3 % 3]}
    made = unit(body, maps=maker.maps, events=maker.events, settings=settings)
    out = place.run(made, context=context, checked=checked, wakeup_bytes=seed % 2 * 4096)
    model = Model(context)
    result = model.run(body)
    return _compare(out, model, result)


def _compare(out: Outcome, model: Model, result: int) -> list[str]:
    wrong = [] if out.result & (1 << 32) - 1 == result else [f"result {out.result:#x}, not {result:#x}"]
    for one in out.unit.maps:
        found = {key: values[0] for key, values in out.map(one).items()}
        if found != model.of_map(one):
            wrong.append(f"{one.name}: {found}, not {model.of_map(one)}")
    if out.events != model.events:
        at = next((at for at, (a, c) in enumerate(zip(out.events, model.events, strict=False)) if a != c), -1)
        wrong.append(f"event {at} of {len(out.events)} and {len(model.events)}")
    return wrong


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_random_programs_do_what_the_model_does(place: Place, start: int) -> None:
    """Every tenth by our verifier too; the kernel's looks at all that it runs."""
    for seed in range(start, start + 10):
        assert differences(seed, place, checked=seed == start and place.name == "jit") == [], seed
