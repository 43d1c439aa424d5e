#include "unwind.h"

#include <algorithm>
#include <utility>

namespace linscope {
namespace {

constexpr int MAX_STEPS = 1000; // of one expression
constexpr size_t MAX_DEPTH = 64;
constexpr uint32_t MAX_NUMBER = 1 << 24; // of spaces and objects

class ExpressionStack {
  public:
    bool ok() const { return ok_; }
    size_t size() const { return size_; }
    void push(uint64_t value) {
        if (size_ == MAX_DEPTH) {
            ok_ = false;
        } else {
            values_[size_++] = value;
        }
    }
    uint64_t pop() {
        if (size_ == 0) {
            ok_ = false;
            return 0;
        }
        return values_[--size_];
    }
    uint64_t peek(uint64_t below) {
        if (below >= size_) {
            ok_ = false;
            return 0;
        }
        return values_[size_ - 1 - below];
    }

  private:
    uint64_t values_[MAX_DEPTH];
    size_t size_ = 0;
    bool ok_ = true;
};

// The binary operators DW_OP_and .. DW_OP_xor, DW_OP_eq .. DW_OP_ne; false for what is none or cannot be computed.
bool binary(uint8_t op, uint64_t a, uint64_t b, uint64_t &result) {
    auto sa = static_cast<int64_t>(a), sb = static_cast<int64_t>(b);
    switch (op) {
    case 0x1a: result = a & b; return true;
    case 0x1b: // div, signed
        if (sb == 0 || (sb == -1 && sa == INT64_MIN)) return false;
        result = static_cast<uint64_t>(sa / sb);
        return true;
    case 0x1c: result = a - b; return true;
    case 0x1d: // mod
        if (b == 0) return false;
        result = a % b;
        return true;
    case 0x1e: result = a * b; return true;
    case 0x21: result = a | b; return true;
    case 0x22: result = a + b; return true;
    case 0x24: result = b < 64 ? a << b : 0; return true;
    case 0x25: result = b < 64 ? a >> b : 0; return true;
    case 0x26: result = static_cast<uint64_t>(sa >> (b < 64 ? b : 63)); return true;
    case 0x27: result = a ^ b; return true;
    case 0x29: result = sa == sb; return true;
    case 0x2a: result = sa >= sb; return true;
    case 0x2b: result = sa > sb; return true;
    case 0x2c: result = sa <= sb; return true;
    case 0x2d: result = sa < sb; return true;
    case 0x2e: result = sa != sb; return true;
    default: return false;
    }
}

} // namespace

Unwinder::Unwinder(LoadSpace load_space, LoadObject load_object, bool swap)
    : load_space_(std::move(load_space)), load_object_(std::move(load_object)), swap_(swap) {}

const std::vector<SpaceMapping> &Unwinder::space(uint32_t number) {
    if (number >= MAX_NUMBER) {
        throw std::out_of_range("number of an address space");
    }
    if (number >= spaces_.size()) {
        spaces_.resize(number + 1);
    }
    if (!spaces_[number]) {
        spaces_[number] = std::make_unique<std::vector<SpaceMapping>>(load_space_(number));
    }
    return *spaces_[number];
}

CfiObject &Unwinder::object(uint32_t number) {
    if (number >= MAX_NUMBER) {
        throw std::out_of_range("number of an object");
    }
    if (number >= objects_.size()) {
        objects_.resize(number + 1);
    }
    if (!objects_[number]) {
        objects_[number] = std::make_unique<CfiObject>(load_object_(number));
    }
    return *objects_[number];
}

bool Unwinder::rules_at(uint32_t number, uint64_t address, FrameRules &out) {
    for (CfiSection &section : object(number).sections) {
        if (section.rules_at(address, out)) {
            return true;
        }
    }
    return false;
}

const SpaceMapping *Unwinder::mapping_at(const std::vector<SpaceMapping> &mappings, uint64_t address) {
    if (last_mapping_ < mappings.size() && mappings[last_mapping_].start <= address &&
        address < mappings[last_mapping_].end && mappings[last_mapping_].object != kNotCode) {
        return &mappings[last_mapping_];
    }
    auto above = std::upper_bound(mappings.begin(), mappings.end(), address,
                                  [](uint64_t value, const SpaceMapping &mapping) { return value < mapping.start; });
    if (above == mappings.begin() || address >= (above - 1)->end || (above - 1)->object == kNotCode) {
        return nullptr;
    }
    last_mapping_ = static_cast<size_t>(above - mappings.begin()) - 1;
    return &mappings[last_mapping_];
}

const Unwinder::Row *Unwinder::row_at(const SpaceMapping *mapping, uint64_t address) {
    if (!mapping || mapping->object < 0) {
        return nullptr;
    }
    auto number = static_cast<uint32_t>(mapping->object);
    uint64_t offset = address - mapping->start + mapping->page_offset;
    for (const LoadSegment &segment : object(number).segments) {
        if (offset - segment.offset < segment.size) {
            const Row &row = row_of(number, offset - segment.offset + segment.address);
            return row.found ? &row : nullptr;
        }
    }
    return nullptr;
}

const Unwinder::Row &Unwinder::row_of(uint32_t number, uint64_t address) {
    auto next = static_cast<uint32_t>(rows_.size());
    auto found = slots_.find_or_add(
        mix(address, number), next,
        [&](uint32_t n) { return rows_[n].address == address && rows_[n].object == number; },
        [&](uint32_t n) { return n == next ? mix(address, number) : mix(rows_[n].address, rows_[n].object); });
    if (found != next) {
        return rows_[found];
    }
    rows_.push_back({address, number, static_cast<uint32_t>(rules_.size()), 0, 0, 0, false, false, {}});
    Row &row = rows_.back();
    std::vector<CfiSection> &sections = object(number).sections;
    for (size_t i = 0; i < sections.size() && !row.found; i++) {
        FrameRules rules;
        if (!sections[i].rules_at(address, rules)) {
            continue;
        }
        row.found = true;
        row.section = static_cast<uint8_t>(i);
        row.signal = rules.signal;
        row.return_register = rules.return_register;
        row.cfa = rules.cfa;
        for (const Rule &rule : rules.registers) {
            if (rule.how != How::Unspecified && rule.how != How::Same) {
                rules_.push_back(rule);
                row.count++;
            }
        }
    }
    return row;
}

bool Unwinder::read(uint64_t address, uint64_t &value) const {
    uint64_t offset = address - stack_base_;
    if (stack_size_ < 8 || offset > stack_size_ - 8) { // an address below the base wraps to a huge offset
        return false;
    }
    value = Cursor(stack_ + offset, 8, swap_).u64();
    return true;
}

// DWARF 5, section 2.5: the operators that make sense for a frame.  cfa: pushed first, where the rule asks for it.
bool Unwinder::evaluate(const Row &row, const Rule &rule, const Frame &frame, const uint64_t *cfa,
                        uint64_t &value) const {
    const DwarfCursor whole = objects_[row.object]->sections[row.section].expression(rule);
    DwarfCursor code = whole;
    ExpressionStack stack;
    if (cfa) {
        stack.push(*cfa);
    }
    auto push_register = [&](uint64_t number, int64_t offset) {
        if (number >= kRegisters || !(frame.known >> number & 1)) {
            return false;
        }
        stack.push(frame.registers[number] + static_cast<uint64_t>(offset));
        return true;
    };
    auto jump = [&](int16_t distance) {
        auto target = static_cast<int64_t>(whole.left() - code.left()) + distance;
        if (target < 0 || target > static_cast<int64_t>(whole.left())) {
            return false;
        }
        code = whole;
        code.skip(static_cast<uint64_t>(target));
        return true;
    };
    for (int steps = 0; code.left(); steps++) {
        if (steps == MAX_STEPS) {
            return false;
        }
        uint8_t op = code.u8();
        uint64_t a = 0, b = 0;
        if (op >= 0x30 && op <= 0x4f) { // lit0 .. lit31
            stack.push(op - 0x30u);
        } else if (op >= 0x70 && op <= 0x8f) { // breg0 .. breg31
            if (!push_register(op - 0x70u, code.sleb())) return false;
        } else {
            switch (op) {
            case 0x06: // deref
                if (!read(stack.pop(), a)) return false;
                stack.push(a);
                break;
            case 0x08: stack.push(code.u8()); break;                                                  // const1u
            case 0x09: stack.push(static_cast<uint64_t>(static_cast<int8_t>(code.u8()))); break;      // const1s
            case 0x0a: stack.push(code.u16()); break;                                                 // const2u
            case 0x0b: stack.push(static_cast<uint64_t>(static_cast<int16_t>(code.u16()))); break;    // const2s
            case 0x0c: stack.push(code.u32()); break;                                                 // const4u
            case 0x0d: stack.push(static_cast<uint64_t>(static_cast<int32_t>(code.u32()))); break;    // const4s
            case 0x0e:                                                                                // const8u
            case 0x0f: stack.push(code.u64()); break;                                                 // const8s
            case 0x10: stack.push(code.uleb()); break;                                                // constu
            case 0x11: stack.push(static_cast<uint64_t>(code.sleb())); break;                         // consts
            case 0x12: stack.push(stack.peek(0)); break;                                              // dup
            case 0x13: stack.pop(); break;                                                            // drop
            case 0x14: stack.push(stack.peek(1)); break;                                              // over
            case 0x15: stack.push(stack.peek(code.u8())); break;                                      // pick
            case 0x16:                                                                                // swap
                a = stack.pop();
                b = stack.pop();
                stack.push(a);
                stack.push(b);
                break;
            case 0x17: { // rot: the top becomes the third
                a = stack.pop();
                b = stack.pop();
                uint64_t c = stack.pop();
                stack.push(a);
                stack.push(c);
                stack.push(b);
                break;
            }
            case 0x19: // abs
                a = stack.pop();
                stack.push(a >> 63 ? 0 - a : a);
                break;
            case 0x1f: stack.push(0 - stack.pop()); break;               // neg
            case 0x20: stack.push(~stack.pop()); break;                  // not
            case 0x23: stack.push(stack.pop() + code.uleb()); break;     // plus_uconst
            case 0x28: {                                                 // bra
                auto distance = static_cast<int16_t>(code.u16());
                if (stack.pop() != 0 && !jump(distance)) return false;
                break;
            }
            case 0x2f: // skip
                if (!jump(static_cast<int16_t>(code.u16()))) return false;
                break;
            case 0x92: { // bregx
                uint64_t number = code.uleb();
                if (!push_register(number, code.sleb())) return false;
                break;
            }
            case 0x94: { // deref_size
                uint8_t size = code.u8();
                if (size < 1 || size > 8 || !read(stack.pop(), a)) return false;
                stack.push(size == 8 ? a : a & ((uint64_t{1} << size * 8) - 1));
                break;
            }
            case 0x96: break; // nop
            default:
                b = stack.pop();
                a = stack.pop();
                if (!binary(op, a, b, a)) return false;
                stack.push(a);
            }
        }
        if (!stack.ok() || !code.ok()) {
            return false;
        }
    }
    value = stack.pop();
    return stack.ok();
}

// From a frame to its caller's.  Returns how the walk ended if there is no caller to be found.
std::optional<Ending> Unwinder::step(const Row &row, Frame &frame) const {
    uint64_t cfa = 0;
    if (row.cfa.how == How::IsOffset) {
        if (!(frame.known >> row.cfa.source & 1)) {
            return Ending::StackDumpEnds;
        }
        cfa = frame.registers[row.cfa.source] + static_cast<uint64_t>(row.cfa.value);
    } else if (!evaluate(row, row.cfa, frame, nullptr, cfa)) {
        return Ending::StackDumpEnds;
    }
    Frame caller = frame;
    caller.registers[kStackPointer] = cfa;
    caller.known |= 1u << kStackPointer;
    bool has_return = false;
    for (uint32_t i = 0; i < row.count; i++) {
        const Rule &rule = rules_[row.first + i];
        uint64_t value = 0;
        bool known = false;
        switch (rule.how) {
        case How::Undefined:
            if (rule.target == row.return_register) return Ending::Outermost;
            break;
        case How::AtOffset: known = read(cfa + static_cast<uint64_t>(rule.value), value); break;
        case How::IsOffset:
            value = cfa + static_cast<uint64_t>(rule.value);
            known = true;
            break;
        case How::Register:
            value = frame.registers[rule.source];
            known = frame.known >> rule.source & 1;
            break;
        case How::AtExpression:
            known = evaluate(row, rule, frame, &cfa, value) && read(value, value);
            break;
        case How::IsExpression: known = evaluate(row, rule, frame, &cfa, value); break;
        default: continue;
        }
        if (rule.target == row.return_register) {
            if (!known) return Ending::StackDumpEnds;
            has_return = true;
        }
        caller.registers[rule.target] = value;
        caller.known = known ? caller.known | 1u << rule.target : caller.known & ~(1u << rule.target);
    }
    if (!has_return) {
        return Ending::NoRules;
    }
    caller.registers[kReturnAddress] = caller.registers[row.return_register];
    frame = caller;
    return std::nullopt;
}

bool Unwinder::is_return_address(const std::vector<SpaceMapping> &mappings, uint64_t address) {
    const SpaceMapping *mapping = mapping_at(mappings, address - 1);
    return mapping && (mapping->object == kNoObject || row_at(mapping, address - 1));
}

// Code without rules: what a compiler made while the program ran, hand-written code.  Frame pointers are the custom
// there.  Python's trampolines (Python/asm_trampoline.S) need no frame pointer: they hold one word below their return
// address, in 3.12 for alignment, later the frame pointer.
bool Unwinder::step_without_rules(const std::vector<SpaceMapping> &mappings, Frame &frame, bool innermost) {
    uint64_t stack = frame.registers[kStackPointer], base = frame.registers[kBasePointer];
    uint64_t above = 0, saved = 0, target = 0;
    auto to_caller = [&](uint64_t address, uint64_t stack_pointer) {
        frame.registers[kReturnAddress] = address;
        frame.registers[kStackPointer] = stack_pointer;
        return true;
    };
    bool has_base = (frame.known >> kBasePointer & 1) && base >= stack && read(base, saved) && read(base + 8, above) &&
                    (saved == 0 || saved > base) && is_return_address(mappings, above);
    if (!innermost && !(has_base && base == stack) && read(stack + 8, target) && is_return_address(mappings, target)) {
        const SpaceMapping *caller = mapping_at(mappings, target - 1);
        if (caller && caller->object != kNoObject) {
            return to_caller(target, stack + 16);
        }
    }
    if (has_base) {
        frame.registers[kBasePointer] = saved;
        return to_caller(above, base + 16);
    }
    return innermost && read(stack, target) && is_return_address(mappings, target) && to_caller(target, stack + 8);
}

Ending Unwinder::walk(uint32_t number, const UserState &start, std::vector<uint64_t> &out) {
    Ending ending = walk_frames(space(number), start, out);
    endings_[static_cast<size_t>(ending)]++;
    return ending;
}

Ending Unwinder::walk_frames(const std::vector<SpaceMapping> &mappings, const UserState &start,
                             std::vector<uint64_t> &out) {
    stack_ = start.stack;
    stack_size_ = start.stack_size;
    stack_base_ = start.registers[kStackPointer];
    Frame frame;
    std::copy(start.registers, start.registers + kRegisters, frame.registers);
    frame.known = start.known;
    uint64_t pc = start.registers[kReturnAddress];
    if (!(start.known >> kReturnAddress & 1) || pc == 0) {
        return Ending::Outermost;
    }
    out.push_back(kExactNext);
    out.push_back(pc);
    if (!(start.known >> kStackPointer & 1)) {
        return Ending::StackDumpEnds;
    }
    bool exact = true;
    for (size_t frames = 1; frames < kMaxFrames; frames++) {
        uint64_t before = frame.registers[kStackPointer];
        const SpaceMapping *mapping = mapping_at(mappings, exact ? pc : pc - 1);
        const Row *row = row_at(mapping, exact ? pc : pc - 1);
        bool signal = row && row->signal;
        if (signal && !exact) { // the kernel made the handler return to the trampoline's first instruction
            out.back() = kExactNext;
            out.push_back(pc);
        }
        if (row) {
            if (auto ending = step(*row, frame)) {
                return *ending;
            }
        } else if (!mapping && frames > 1) {
            return Ending::OutsideCode;
        } else if (!step_without_rules(mappings, frame, frames == 1)) {
            return mapping ? Ending::NoRules : Ending::OutsideCode;
        }
        pc = frame.registers[kReturnAddress];
        if (pc == 0) {
            return Ending::Outermost;
        }
        // A caller's frame lies above; only a signal's handler may have had a stack of its own.
        if (!signal && frame.registers[kStackPointer] <= before) {
            return Ending::Loop;
        }
        if (signal) {
            out.push_back(kExactNext);
        }
        out.push_back(pc);
        exact = signal;
    }
    return Ending::TooDeep;
}

} // namespace linscope
