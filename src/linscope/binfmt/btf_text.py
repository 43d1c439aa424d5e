"""Types as C text: declarations of anything, structs with offsets, sizes, holes and cache lines as pahole shows them.

Source of the form: dwarves, dwarves_fprintf.c; what pahole 1.24 prints.
"""

from __future__ import annotations

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.binfmt.btf_holes import Layouts, MemberLayout, StructLayout
from linscope.errors import FormatError

_TYPE_WIDTH, _NAME_WIDTH = 26, 23  # of a member's line, without its indentation
_MARK = 3 * "X"  # in front of what pahole finds worth changing
_INNER = 8  # by which the type is narrower one level further in
_MAX_DEPTH = 32
_MAX_PADDING = 1 << 14  # members that only fill; damaged sizes would have a thousand million


class _Place:
    """Where on the page and in memory a struct is being written."""

    __slots__ = ("base", "first", "indent", "last", "line", "relative", "stats", "type_width", "union_member")

    def __init__(self, type_width: int = _TYPE_WIDTH) -> None:
        self.indent = 0
        self.type_width = type_width
        self.base = 0  # offset of the struct in the outermost one
        self.relative = False  # behind a pointer: its offsets begin at 0
        self.line = [0]  # the cache line that was reached, shared with those inside
        self.stats = True
        self.first = self.last = self.union_member = False

    def inner(self) -> _Place:
        """For the members one level further in."""
        made = _Place(self.type_width)
        made.indent = self.indent + 1
        made.base, made.relative, made.line, made.stats = self.base, self.relative, self.line, self.stats
        made.first, made.last, made.union_member = self.first, self.last, self.union_member
        return made


def declare(btf: Btf, type_id: int, name: str = "") -> str:
    """How C declares something of a type: ``struct sock *sk``, ``int (*show)(struct file *)``.  Raises FormatError."""
    return _closed_up(_Writer(btf).typed(type_id, name, _Place(0)))


def _closed_up(text: str) -> str:
    """One declaration without the blanks that columns need."""
    return " ".join(text.split()).replace("* ", "*").replace(" )", ")").replace("( ", "(")


def type_text(btf: Btf, type_id: int) -> str:
    """The definition of a type, as C with comments about its layout; ends without a newline.

    Structs say where each member lies and how large it is, in bytes (and bits), where holes are and where cache lines
    of 64 bytes begin.  Raises FormatError.
    """
    writer = _Writer(btf)
    match btf.type(type_id):
        case bt.Struct(is_union=True):
            return writer.union(type_id, _Place()) + ";"
        case bt.Struct():
            return writer.struct(type_id, _Place()) + ";"
        case bt.Enum():
            return writer.enum(type_id, _Place()) + ";"
        case bt.Typedef(name=name, target=target):
            match btf.type(target):
                case bt.Struct(name="", is_union=is_union):
                    body = writer.union(target, _Place()) if is_union else writer.struct(target, _Place())
                    return f"typedef {body} {name};"
            return f"typedef {declare(btf, target, name)};"
        case bt.Func(name=name, proto=proto):
            return f"{_closed_up(writer.prototype(proto, name, False, 0, bare=True))};"
        case bt.Var(name=name, type=target):
            return f"{declare(btf, target, name)};"
        case bt.DataSection(name=name, variables=variables, size=size):
            odd = next((one.variable for one in variables if isinstance(btf.type(one.variable), bt.DataSection)), 0)
            if odd:
                raise FormatError(f"BTF type {odd} is a section in section {name!r}", where=btf.where)
            lines = [f"{type_text(btf, one.variable)} /* {one.offset:5} {one.size:5} */" for one in variables]
            return "\n".join([f"/* section {name}, {size} bytes */", *lines])
        case _:
            return f"{declare(btf, type_id)};"


class _Writer:
    """Writes the types of one BTF."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.layouts = Layouts(btf)
        self.depth = 0

    # -- names

    def name(self, type_id: int) -> str:
        """What a type is called, with the blanks that pahole puts around qualifiers."""
        self._enter()
        try:
            return self._name(type_id)
        finally:
            self.depth -= 1

    def _enter(self) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise FormatError("BTF types lie in each other in a circle", where=self.btf.where)

    def _name(self, type_id: int) -> str:
        match self.btf.type(type_id):
            case bt.Void():
                return "void"
            case bt.Pointer(target=target):
                return self._pointer_name(target)
            case bt.Qualifier(keyword=keyword, target=target):
                inner = self.name(target)
                return f"{inner} restrict " if keyword == "restrict" else f"{keyword} {inner} "
            case bt.TypeTag(target=target):
                return self.name(target)
            case bt.Array(element=element):
                return self.name(element)
            case bt.FuncProto():
                return self.prototype(type_id, "", False, 0)
            case bt.Struct(name=name, is_union=is_union) | bt.Forward(name=name, is_union=is_union):
                return f"{'union' if is_union else 'struct'} {name}"
            case bt.Enum(name=name):
                return f"enum {name}"
            case bt.Func(name=name) | bt.Var(name=name) | bt.DataSection(name=name) | bt.DeclTag(name=name):
                return name
            case bt.Typedef(name=name) | bt.Int(name=name) | bt.Float(name=name):
                return name

    def _pointer_name(self, target: int) -> str:
        if not target:
            return "void *"
        const = ""
        pointed = self.btf.type(target)
        if isinstance(pointed, bt.Qualifier) and pointed.keyword == "const":
            inner = self.btf.type(pointed.target)
            if isinstance(inner, bt.Pointer):
                const, target = "const ", pointed.target
        return f"{self.name(target)} {const}*"

    # -- declarations

    def typed(self, type_id: int, name: str, place: _Place) -> str:
        """The type, filled up to its width, and the name of what is of it."""
        self._enter()
        try:
            return self._typed(type_id, name, place)
        finally:
            self.depth -= 1

    def _typed(self, type_id: int, name: str, place: _Place) -> str:
        btf, width = self.btf, place.type_width
        prefix = ""
        for _ in range(_MAX_DEPTH):
            match btf.type(type_id):
                case bt.TypeTag(target=target):
                    type_id = target
                    continue
                case bt.Qualifier(keyword="const", target=target) if target:
                    prefix += "const "
                    width -= len("const ")
                    type_id = target
                    continue
            break
        match btf.type(type_id):
            case bt.Pointer(target=target) if target:
                pointed = self._behind_tags(target)
                what = btf.type(pointed)
                if isinstance(what, bt.FuncProto):
                    return prefix + self.prototype(pointed, name, True, width)
                if isinstance(what, bt.Struct | bt.Enum) and not what.name:
                    inner = place.inner()
                    inner.indent, inner.relative, inner.base = place.indent, True, 0
                    inner.type_width = width - _INNER
                    return prefix + self.typed(pointed, f"* {name}", inner)
                return f"{prefix}{self.name(type_id):<{abs(width)}} {name}"
            case bt.FuncProto():
                return prefix + self.prototype(type_id, name, False, width)
            case bt.Array():
                return prefix + self._array(type_id, name, place, width)
            case bt.Struct(name=tag, is_union=is_union) if not tag:
                inner = place.inner()
                inner.indent, inner.stats, inner.type_width = place.indent, False, width - _INNER
                text = self.union(type_id, inner) if is_union else self.struct(type_id, inner)
                return f"{prefix}{text} {name}".rstrip()
            case bt.Struct(name=tag, is_union=is_union) | bt.Forward(name=tag, is_union=is_union):
                word = "union" if is_union else "struct"
                return f"{prefix}{word} {tag:<{abs(width - len(word) - 1)}} {name}"
            case bt.Enum(name=tag) if not tag:
                inner = place.inner()
                inner.indent = place.indent
                return f"{prefix}{self.enum(type_id, inner)} {name}".rstrip()
            case bt.Enum(name=tag):
                return f"{prefix}enum {tag:<{abs(width - 5)}} {name}"
        return f"{prefix}{self.name(type_id):<{abs(width)}} {name}"

    def _behind_tags(self, type_id: int) -> int:
        for _ in range(_MAX_DEPTH):
            tag = self.btf.type(type_id)
            if not isinstance(tag, bt.TypeTag):
                break
            type_id = tag.target
        return type_id

    def _array(self, type_id: int, name: str, place: _Place, width: int) -> str:
        lengths: list[int] = []
        element = type_id
        while isinstance(array := self.btf.type(element), bt.Array) and len(lengths) < _MAX_DEPTH:
            lengths.append(array.length)
            element = array.element
        first = self.btf.type(element)
        if not lengths[0] and isinstance(first, bt.Qualifier) and first.keyword == "const":
            element = first.target
        inner = place.inner()
        inner.indent, inner.type_width = place.indent, width
        text = self.typed(element, name, inner)
        flexible = place.last and not place.first and not place.union_member
        return text + "".join(f"[{length}]" if length or not flexible else "[]" for length in lengths)

    def prototype(self, type_id: int, name: str, pointer: bool, width: int, *, bare: bool = False) -> str:
        """The type of a function; bare: of a function itself, whose name has no brackets around it."""
        proto = self.btf.type(type_id)
        if not isinstance(proto, bt.FuncProto):
            raise FormatError(f"BTF type {type_id} is no prototype", where=self.btf.where)
        called = name if bare else f"({'*' if pointer else ''}{name})"
        parameters = [self._parameter(one) for one in proto.parameters]
        if proto.variadic:
            parameters.append("...")
        return f"{self.name(proto.returns):<{abs(width)}} {called}({', '.join(parameters) or 'void'})"

    def _parameter(self, one: bt.Parameter) -> str:
        match self.btf.type(one.type):
            case bt.Pointer(target=target) if isinstance(self.btf.type(target), bt.FuncProto):
                return self.prototype(target, one.name, True, 0)
        text = self.name(one.type)
        return f"{text} {one.name}" if one.name else text

    # -- definitions

    def enum(self, type_id: int, place: _Place) -> str:
        """An enum with its values."""
        found = self.btf.type(type_id)
        assert isinstance(found, bt.Enum)
        tabs = "\t" * place.indent
        width = max((len(name) for name, _ in found.values), default=0)
        lines = [f"{tabs}\t{name:<{width}} = {value},\n" for name, value in found.values]
        packed = "" if found.size == 4 else " __attribute__((__packed__))"
        return f"enum{' ' if found.name else ''}{found.name} {{\n{''.join(lines)}{tabs}}}{packed}"

    def union(self, type_id: int, place: _Place) -> str:
        """A union with the places of its members."""
        layout, head = self.layouts.of(type_id), self._head(type_id, "union")
        inner = place.inner()
        inner.union_member = True
        start = place.line[0]
        lines = []
        for one in layout.members:
            inner.first = inner.last = False
            lines.append("\t" * inner.indent + self._member(one, inner, in_union=True) + "\n")
            place.line[0] = start
        return f"{head}{''.join(lines)}" + "\t" * place.indent + "}"

    def _head(self, type_id: int, word: str) -> str:
        name = self.btf.name(type_id)
        return f"{word}{' ' if name else ''}{name} {{\n"

    def struct(self, type_id: int, place: _Place) -> str:
        """A struct with the places of its members, holes, and sums (of an outermost one)."""
        layout = self.layouts.of(type_id)
        inner = place.inner()
        parts = [self._head(type_id, "struct")]
        sums = _Sums(layout)
        tabs = "\t" * inner.indent
        newline = False
        for bits, what in ((layout.pre_bit_hole, "bit"), (layout.pre_hole, "byte")):
            if bits > 0:
                parts.append(("" if newline else "\n") + f"{tabs}{_hole(bits, what)}\n")
                newline = True
        last: MemberLayout | None = None
        last_size = 0
        for number, one in enumerate(layout.members):
            sums.forced(one, last.hole if last is not None else layout.pre_hole)
            if last is not None and last_size:
                before, newline = self._between(last, one, last_size, inner, newline)
                parts.append(before)
            if newline:
                parts.append("\n")
                newline = False
            inner.first, inner.last = last is None, number == len(layout.members) - 1
            line = tabs + self._member(one, inner, in_union=False)
            for comment in (self._inside(one, sums), _hole(one.bit_hole, "bit"), _hole(one.hole, "byte")):
                if comment:
                    line += ("" if newline else "\n") + f"\n{tabs}{comment}"
                    newline = True
            parts.append(line + "\n")
            sums.add(one)
            if last is None or not last_size or last.byte_offset != one.byte_offset or (not last.bits and one.bits):
                last_size = one.size
            last = one
        if place.stats:
            parts += self._padding(layout, inner, last)
            cacheline = self.layouts.cacheline_size
            parts += [f"{tabs}{line}\n" if line else "\n" for line in sums.lines(cacheline, place.base)]
        end = "\t" * place.indent + "}"
        packed = self.layouts.is_packed(type_id)
        if packed:
            end += " __attribute__((__packed__))"
        elif layout.alignment:
            end += f" __attribute__((__aligned__({layout.alignment})))"
        return "".join(parts) + end

    def _padding(self, layout: StructLayout, inner: _Place, last: MemberLayout | None) -> list[str]:
        """Bit fields that keep others from using what is behind the last member."""
        if last is None or layout.alignment or layout.padding <= 8 or not last.size or last.size & last.size - 1:
            return []
        if isinstance(self.btf.type(self.btf.resolve(last.type)), bt.Struct):
            return []
        count = -(-layout.padding // last.size)
        if count > _MAX_PADDING:
            raise FormatError(f"a struct with {layout.padding} bytes behind its last member", where=self.btf.where)
        tabs = "\t" * inner.indent
        line = f"{tabs}{self.typed(last.type, '', inner)}:{8 * last.size};\n"
        return [f"\n{tabs}/* Force padding: */\n", *[line] * count]

    def _between(
        self, last: MemberLayout, one: MemberLayout, last_size: int, inner: _Place, newline: bool
    ) -> tuple[str, bool]:
        """What stands in front of a member because of the one before; whether a blank line is due."""
        tabs = "\t" * inner.indent
        text = ""
        if last.bit_hole and one.bits:
            bits = last.bit_hole
            if last.byte_offset != one.byte_offset:
                text += f"\n{tabs}/* Force alignment to the next boundary: */\n"
                bits = 0
            text += f"{tabs}{self.typed(one.type, '', inner)}:{bits};\n"
        combined = ""
        if one.byte_offset < last.byte_offset or (one.byte_offset == last.byte_offset and not last.bits and one.bits):
            combined = "previous"
        elif 0 < one.byte_offset - last.byte_offset < last_size:
            combined = "next"
        if combined:
            text += ("" if newline else "\n") + f"{tabs}/* Bitfield combined with {combined} fields */\n"
        return text, newline or bool(combined)

    def _inside(self, one: MemberLayout, sums: _Sums) -> str:
        """What there is to say of a struct that is a member."""
        inner = self.btf.type(one.type)
        if not isinstance(inner, bt.Struct) or inner.is_union:
            return ""
        layout = self.layouts.of(one.type)
        if not layout.padding:
            return ""
        sums.paddings += 1
        sums.padding_bytes += layout.padding
        return f"/* {_MARK} last struct has {_counted(layout.padding, 'byte')} of padding */"

    def _member(self, one: MemberLayout, place: _Place, *, in_union: bool) -> str:
        """One line (of an anonymous struct, several), without the indentation in front."""
        inner = place.inner()
        inner.indent = place.indent
        offset = one.byte_offset
        if not place.relative:
            offset += place.base
            if not in_union:
                inner.base = offset
        text = self._boundary(offset, place)
        found = self.btf.type(one.type)
        inline = isinstance(found, bt.Struct | bt.Enum) and not found.name
        start = len(text)
        text += self.typed(one.type, one.name, inner)
        if one.bits:
            text += f":{one.bits}"
        attribute = f" __attribute__((__aligned__({one.alignment})))" if one.alignment else ""
        text += f"{attribute};"
        if inline:
            taken = len(attribute) + (len(one.name) if one.name else -1)
            if isinstance(found, bt.Struct) and self.layouts.is_packed(one.type):
                taken += len(" __attribute__((__packed__))")
            room = place.type_width + _NAME_WIDTH - taken - 3
        else:
            room = place.type_width + _NAME_WIDTH - (len(text) - start)
        text += " " * max(room, 1) + f"/* {offset:5}"
        return text + (f":{one.bit_offset:2} {one.size:2} */" if one.bits else f" {one.size:5} */")

    def _boundary(self, offset: int, place: _Place) -> str:
        """The line that says that a cache line begins here, or began a little before."""
        size = self.layouts.cacheline_size
        line, behind = divmod(offset, size)
        if line <= place.line[0]:
            return ""
        place.line[0] = line
        ago = f" was {_counted(behind, 'byte')} ago" if behind else ""
        return f"/* --- cacheline {line} boundary ({line * size} bytes){ago} --- */\n" + "\t" * place.indent


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _hole(size: int, what: str) -> str:
    return f"/* {_MARK} {_counted(size, what)} hole, try to pack */" if size > 0 else ""


class _Sums:
    """What the lines below a struct say."""

    def __init__(self, layout: StructLayout) -> None:
        self.layout = layout
        self.bytes = self.bits = self.hole_bytes = self.hole_bits = 0
        self.paddings = self.padding_bytes = 0
        self.alignments = self.alignment_holes = self.alignment_bytes = 0
        if layout.pre_hole > 0:
            self.hole_bytes += layout.pre_hole
        self.hole_bits += layout.pre_bit_hole

    def forced(self, one: MemberLayout, hole: int) -> None:
        """Count the alignment of a member, and the hole before it."""
        if one.alignment:
            self.alignments += 1
            self.alignment_holes += hole != 0
            self.alignment_bytes += hole

    def add(self, one: MemberLayout) -> None:
        """Count a member and the hole behind it."""
        if one.bits:
            self.bits += one.bits
        else:
            self.bytes += one.size
        self.hole_bits += one.bit_hole
        self.hole_bytes += max(one.hole, 0)

    def lines(self, cacheline: int, base: int) -> list[str]:
        """All of them; an empty one first."""
        layout = self.layout
        size = layout.size
        lines = ["", f"/* size: {size}, cachelines: {-(-size // cacheline)}, members: {len(layout.members)} */"]
        if self.hole_bytes > 0 or self.hole_bits > 0:
            if self.bytes > 0:
                holes = f", holes: {layout.holes}, sum holes: {self.hole_bytes}" if self.hole_bytes > 0 else ""
                lines.append(f"/* sum members: {self.bytes}{holes} */")
            if self.bits > 0:
                holes = f", bit holes: {layout.bit_holes}, sum bit holes: {self.hole_bits} bits"
                rest = holes if self.hole_bits > 0 else f" ({self.bits // 8} bytes)"
                lines.append(f"/* sum bitfield members: {self.bits} bits{rest} */")
        if layout.padding > 0:
            lines.append(f"/* padding: {layout.padding} */")
        if self.paddings:
            lines.append(f"/* paddings: {self.paddings}, sum paddings: {self.padding_bytes} */")
        if layout.bit_padding > 0:
            lines.append(f"/* bit_padding: {layout.bit_padding} bits */")
        if self.alignments:
            holes = ""
            if self.alignment_holes:
                holes = f", forced holes: {self.alignment_holes}, sum forced holes: {self.alignment_bytes}"
            lines.append(f"/* forced alignments: {self.alignments}{holes} */")
        if rest_bytes := (base + size) % cacheline:
            lines.append(f"/* last cacheline: {rest_bytes} bytes */")
        members = 8 * self.bytes + self.bits
        unused = 8 * self.hole_bytes + self.hole_bits + 8 * layout.padding + layout.bit_padding
        if layout.members and (odd := 8 * size - members - unused):
            sums = f"{self.bytes} (member bytes) + {self.bits} (member bits) + {self.hole_bytes} (byte holes)"
            text = f"BRAIN FART ALERT! {size} bytes != {sums} + {self.hole_bits} (bit holes), diff = {odd} bits"
            lines += ["", f"/* {text} */"]
        return lines
