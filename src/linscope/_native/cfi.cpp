#include "cfi.h"

#include <algorithm>
#include <utility>

namespace linscope {
namespace {

// DW_EH_PE_*: how a pointer is written.
constexpr uint8_t ENCODING_FORM = 0x0f, ENCODING_BASE = 0x70, ENCODING_PCREL = 0x10, ENCODING_DATAREL = 0x30,
                  ENCODING_INDIRECT = 0x80, ENCODING_OMIT = 0xff, ENCODING_SORTED_TABLE = 0x3b;
constexpr size_t MAX_PROGRAM = 1 << 20, MAX_REMEMBERED = 64, MAX_EXPRESSION = 1 << 16;

} // namespace

uint8_t DwarfCursor::u8() {
    if (left() < 1) {
        fail();
        return 0;
    }
    uint8_t value = *at();
    skip(1);
    return value;
}

uint64_t DwarfCursor::uleb() {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = u8();
        if (shift < 64) {
            value |= static_cast<uint64_t>(byte & 0x7f) << shift;
        }
        if (!(byte & 0x80)) {
            return value;
        }
    }
}

int64_t DwarfCursor::sleb() {
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        byte = u8();
        if (shift < 64) {
            value |= static_cast<uint64_t>(byte & 0x7f) << shift;
        }
        shift += 7;
    } while (byte & 0x80);
    if (shift < 64 && (byte & 0x40)) {
        value |= ~uint64_t{0} << shift;
    }
    return static_cast<int64_t>(value);
}

CfiSection::CfiSection(std::vector<uint8_t> data, uint64_t address, std::vector<uint8_t> header,
                       uint64_t header_address, bool is_debug_frame, bool swap)
    : data_(std::move(data)), header_(std::move(header)), address_(address), header_address_(header_address),
      is_debug_(is_debug_frame), swap_(swap) {
    DwarfCursor cursor(header_.data(), header_.size(), swap_);
    uint8_t version = cursor.u8(), frame = cursor.u8(), count = cursor.u8(), table = cursor.u8();
    if (!cursor.ok() || version != 1 || table != ENCODING_SORTED_TABLE || frame == ENCODING_OMIT) {
        return;
    }
    // both numbers are four bytes wide in every file that a linker wrote; others are scanned
    bool usual = (frame & ENCODING_FORM & 7) == 3 && (count & ENCODING_FORM & 7) == 3 && count != ENCODING_OMIT;
    if (usual) {
        cursor.skip(4);
        uint64_t entries = cursor.u32();
        if (cursor.ok() && entries <= cursor.left() / 8) {
            table_entries_ = entries;
            table_at_ = static_cast<size_t>(cursor.at() - header_.data());
        }
    }
}

DwarfCursor CfiSection::at(size_t begin, size_t end) const {
    end = std::min(end, data_.size());
    begin = std::min(begin, end);
    return DwarfCursor(data_.data() + begin, end - begin, swap_);
}

DwarfCursor CfiSection::expression(const Rule &rule) const {
    size_t begin = static_cast<size_t>(rule.value);
    return at(begin, begin + rule.size);
}

uint64_t CfiSection::pointer(DwarfCursor &cursor, uint8_t encoding) const {
    uint64_t here = address_ + position(cursor), value = 0;
    switch (encoding & ENCODING_FORM) {
    case 0x0:
    case 0x4:
    case 0xc: value = cursor.u64(); break;
    case 0x1: value = cursor.uleb(); break;
    case 0x2: value = cursor.u16(); break;
    case 0x3: value = cursor.u32(); break;
    case 0x9: value = static_cast<uint64_t>(cursor.sleb()); break;
    case 0xa: value = static_cast<uint64_t>(static_cast<int16_t>(cursor.u16())); break;
    case 0xb: value = static_cast<uint64_t>(static_cast<int32_t>(cursor.u32())); break;
    default: cursor.fail(); break;
    }
    switch (encoding & ENCODING_BASE) {
    case 0: break;
    case ENCODING_PCREL: value += here; break;
    case ENCODING_DATAREL: value += header_address_; break;
    default: cursor.fail(); break;
    }
    return value;
}

bool CfiSection::entry_at(size_t offset, Entry &out) const {
    if (offset >= data_.size()) {
        return false;
    }
    DwarfCursor cursor = at(offset, data_.size());
    uint64_t length = cursor.u32();
    out.wide = length == 0xFFFFFFFF;
    if (out.wide) {
        length = cursor.u64();
    }
    if (!cursor.ok() || length > cursor.left()) {
        return false;
    }
    out.id_at = position(cursor);
    out.end = out.id_at + length;
    out.id = 0;
    if (length > 0) { // an entry of length 0 ends .eh_frame; the linker may leave one in the middle
        DwarfCursor inside = at(out.id_at, out.end);
        out.id = out.wide ? inside.u64() : inside.u32();
        out.body = position(inside);
        return inside.ok();
    }
    out.body = out.end;
    return true;
}

bool CfiSection::is_cie(const Entry &entry) const {
    return entry.id == (!is_debug_ ? 0 : entry.wide ? ~uint64_t{0} : 0xFFFFFFFF);
}

const CfiSection::Cie *CfiSection::cie_at(size_t offset) {
    auto [found, is_new] = cies_.try_emplace(offset);
    Cie &cie = found->second;
    if (!is_new) {
        return cie.valid ? &cie : nullptr;
    }
    Entry entry;
    if (!entry_at(offset, entry) || entry.body == entry.end || !is_cie(entry)) {
        return nullptr;
    }
    DwarfCursor cursor = at(entry.body, entry.end);
    uint8_t version = cursor.u8();
    const uint8_t *augmentation = cursor.at();
    while (cursor.u8() != 0) {
    }
    if (!cursor.ok() || (version != 1 && version != 3 && version != 4)) {
        return nullptr;
    }
    if (version == 4 && (cursor.u8() != 8 || cursor.u8() != 0)) { // address and segment selector size
        return nullptr;
    }
    cie.code_align = cursor.uleb();
    cie.data_align = cursor.sleb();
    uint64_t return_register = version == 1 ? cursor.u8() : cursor.uleb();
    if (*augmentation == 'z') {
        cie.augmented = true;
        uint64_t size = cursor.uleb();
        if (size > cursor.left()) {
            return nullptr;
        }
        DwarfCursor inside(cursor.at(), size, swap_);
        cursor.skip(size);
        for (bool known = true; known && *++augmentation;) {
            switch (*augmentation) {
            case 'R': cie.encoding = inside.u8(); break;
            case 'L': inside.u8(); break;
            case 'P': pointer(inside, inside.u8() & ENCODING_FORM); break;
            case 'S': cie.signal = true; break;
            default: known = false; break; // its data cannot be told apart, nor what follows
            }
        }
        if (!inside.ok()) {
            return nullptr;
        }
    } else if (*augmentation != 0) {
        return nullptr;
    }
    cie.program = position(cursor);
    cie.end = entry.end;
    cie.return_register = static_cast<uint8_t>(return_register);
    cie.valid = cursor.ok() && return_register < kRegisters && !(cie.encoding & ENCODING_INDIRECT) &&
                cie.end - cie.program <= MAX_PROGRAM;
    return cie.valid ? &cie : nullptr;
}

bool CfiSection::fde_at(size_t offset, Fde &out) {
    Entry entry;
    if (!entry_at(offset, entry) || entry.body == entry.end || is_cie(entry)) {
        return false;
    }
    if (!is_debug_ && entry.id > entry.id_at) {
        return false;
    }
    out.cie = cie_at(is_debug_ ? entry.id : entry.id_at - entry.id);
    if (!out.cie) {
        return false;
    }
    DwarfCursor cursor = at(entry.body, entry.end);
    out.start = pointer(cursor, out.cie->encoding);
    out.size = pointer(cursor, out.cie->encoding & ENCODING_FORM);
    if (out.cie->augmented) {
        cursor.skip(cursor.uleb());
    }
    out.program = position(cursor);
    out.end = entry.end;
    return cursor.ok() && out.end - out.program <= MAX_PROGRAM;
}

bool CfiSection::find_by_header(uint64_t address, size_t &fde) const {
    const uint8_t *table = header_.data() + table_at_;
    auto word = [&](uint64_t index) {
        Cursor cursor(table + index * 4, 4, swap_);
        return header_address_ + static_cast<uint64_t>(static_cast<int32_t>(cursor.u32()));
    };
    uint64_t low = 0, high = table_entries_; // the last entry that starts at or below the address is in [low, high)
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        (word(middle * 2) <= address ? low : high) = middle;
    }
    fde = word(low * 2 + 1) - address_;
    return true;
}

bool CfiSection::find_by_scan(uint64_t address, size_t &fde) {
    if (!scanned_) {
        scanned_ = true;
        Entry entry;
        Fde found;
        for (size_t offset = 0; entry_at(offset, entry); offset = entry.end) {
            if (entry.body != entry.end && !is_cie(entry) && fde_at(offset, found) && found.size) {
                ranges_.push_back({found.start, found.start + found.size, offset});
            }
        }
        std::sort(ranges_.begin(), ranges_.end(), [](const Range &a, const Range &b) { return a.start < b.start; });
    }
    auto above = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                  [](uint64_t value, const Range &range) { return value < range.start; });
    if (above == ranges_.begin()) {
        return false;
    }
    fde = (above - 1)->fde;
    return true;
}

bool CfiSection::rules_at(uint64_t address, FrameRules &out) {
    size_t offset = 0;
    Fde fde;
    if (!(table_entries_ ? find_by_header(address, offset) : find_by_scan(address, offset)) || !fde_at(offset, fde) ||
        address - fde.start >= fde.size) {
        return false;
    }
    FrameRules initial;
    initial.return_register = fde.cie->return_register;
    initial.signal = fde.cie->signal;
    if (!run(at(fde.cie->program, fde.cie->end), fde, address, nullptr, initial)) {
        return false;
    }
    out = initial;
    return run(at(fde.program, fde.end), fde, address, &initial, out) && out.cfa.how != How::Unspecified;
}

// Runs instructions until they are beyond the address.  initial: what DW_CFA_restore goes back to; none in a CIE.
bool CfiSection::run(DwarfCursor program, const Fde &fde, uint64_t address, const FrameRules *initial,
                     FrameRules &state) const {
    const Cie &cie = *fde.cie;
    uint64_t location = fde.start;
    std::vector<FrameRules> remembered;
    auto set = [&](uint64_t target, How how, int64_t value, uint32_t size = 0, uint64_t source = 0) {
        if (target < kRegisters) { // vector registers and the like do not help to find the caller
            if (how == How::Register && source >= kRegisters) {
                how = How::Undefined;
                source = 0;
            }
            state.registers[target] = {value, size, how, static_cast<uint8_t>(target), static_cast<uint8_t>(source)};
        }
    };
    auto factored = [&](int64_t value) {
        return static_cast<int64_t>(static_cast<uint64_t>(value) * static_cast<uint64_t>(cie.data_align));
    };
    auto restore = [&](uint64_t target) {
        if (target < kRegisters && initial) {
            state.registers[target] = initial->registers[target];
        }
    };
    auto set_cfa = [&](uint64_t source, int64_t offset) {
        if (source >= kRegisters) {
            program.fail();
            return;
        }
        state.cfa = {offset, 0, How::IsOffset, 0, static_cast<uint8_t>(source)};
    };
    auto block = [&](Rule &rule, How how) {
        uint64_t size = program.uleb();
        size_t begin = position(program);
        program.skip(size);
        if (size > MAX_EXPRESSION) {
            program.fail();
        }
        rule = {static_cast<int64_t>(begin), static_cast<uint32_t>(size), how, 0, 0};
    };
    auto advance = [&](uint64_t delta) { return (location += delta * cie.code_align) <= address; };
    while (program.left()) {
        uint8_t op = program.u8();
        uint8_t low = op & 0x3f;
        if (op >> 6 == 1) { // DW_CFA_advance_loc
            if (!advance(low)) return true;
            continue;
        }
        if (op >> 6 == 2) { // DW_CFA_offset
            set(low, How::AtOffset, factored(static_cast<int64_t>(program.uleb())));
            continue;
        }
        if (op >> 6 == 3) { // DW_CFA_restore
            restore(low);
            continue;
        }
        switch (op) {
        case 0x00: break; // nop
        case 0x01:        // set_loc
            location = pointer(program, cie.encoding);
            if (program.ok() && location > address) return true;
            break;
        case 0x02: // advance_loc1
            if (uint8_t delta = program.u8(); program.ok() && !advance(delta)) return true;
            break;
        case 0x03: // advance_loc2
            if (uint16_t delta = program.u16(); program.ok() && !advance(delta)) return true;
            break;
        case 0x04: // advance_loc4
            if (uint32_t delta = program.u32(); program.ok() && !advance(delta)) return true;
            break;
        case 0x05: { // offset_extended
            uint64_t target = program.uleb();
            set(target, How::AtOffset, factored(static_cast<int64_t>(program.uleb())));
            break;
        }
        case 0x06: restore(program.uleb()); break; // restore_extended
        case 0x07: set(program.uleb(), How::Undefined, 0); break;
        case 0x08: set(program.uleb(), How::Same, 0); break;
        case 0x09: { // register
            uint64_t target = program.uleb();
            set(target, How::Register, 0, 0, program.uleb());
            break;
        }
        case 0x0a: // remember_state
            if (remembered.size() == MAX_REMEMBERED) return false;
            remembered.push_back(state);
            break;
        case 0x0b: // restore_state
            if (remembered.empty()) return false;
            state = remembered.back();
            remembered.pop_back();
            break;
        case 0x0c: { // def_cfa
            uint64_t source = program.uleb();
            set_cfa(source, static_cast<int64_t>(program.uleb()));
            break;
        }
        case 0x0d: // def_cfa_register
            if (state.cfa.how != How::IsOffset) return false;
            set_cfa(program.uleb(), state.cfa.value);
            break;
        case 0x0e: // def_cfa_offset
            if (state.cfa.how != How::IsOffset) return false;
            state.cfa.value = static_cast<int64_t>(program.uleb());
            break;
        case 0x0f: block(state.cfa, How::IsExpression); break; // def_cfa_expression
        case 0x10:                                             // expression
        case 0x16: {                                           // val_expression
            uint64_t target = program.uleb();
            Rule rule;
            block(rule, op == 0x10 ? How::AtExpression : How::IsExpression);
            set(target, rule.how, rule.value, rule.size);
            break;
        }
        case 0x11: { // offset_extended_sf
            uint64_t target = program.uleb();
            set(target, How::AtOffset, factored(program.sleb()));
            break;
        }
        case 0x12: { // def_cfa_sf
            uint64_t source = program.uleb();
            set_cfa(source, factored(program.sleb()));
            break;
        }
        case 0x13: // def_cfa_offset_sf
            if (state.cfa.how != How::IsOffset) return false;
            state.cfa.value = factored(program.sleb());
            break;
        case 0x14: { // val_offset
            uint64_t target = program.uleb();
            set(target, How::IsOffset, factored(static_cast<int64_t>(program.uleb())));
            break;
        }
        case 0x15: { // val_offset_sf
            uint64_t target = program.uleb();
            set(target, How::IsOffset, factored(program.sleb()));
            break;
        }
        case 0x2e: program.uleb(); break; // GNU_args_size
        case 0x2f: {                      // GNU_negative_offset_extended
            uint64_t target = program.uleb();
            set(target, How::AtOffset, factored(static_cast<int64_t>(0 - program.uleb())));
            break;
        }
        default: return false;
        }
        if (!program.ok()) {
            return false;
        }
    }
    return program.ok();
}

} // namespace linscope
