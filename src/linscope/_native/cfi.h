// Call frame information: which rules lead from a frame to its caller's.
// Source: DWARF 5, section 6.4 and 2.5; Linux Standard Base, "Exception Frames" (.eh_frame, .eh_frame_hdr).
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "cursor.h"

namespace linscope {

// System V ABI for x86-64, figure 3.36: DWARF numbers 0-15 are the general registers, 16 the return address.
constexpr uint32_t kRegisters = 17, kBasePointer = 6, kStackPointer = 7, kReturnAddress = 16;

enum class How : uint8_t {
    Unspecified,    // of the CFA: no rule
    Undefined,      // of the return address: the outermost frame
    Same,           // unchanged
    AtOffset,       // in memory at CFA + value
    IsOffset,       // CFA + value; of the CFA itself: register + value
    Register,       // that of another register
    AtExpression,   // in memory where the expression says
    IsExpression,   // what the expression says
};

struct Rule {
    int64_t value = 0; // an offset, or where in the section an expression begins
    uint32_t size = 0; // bytes of the expression
    How how = How::Unspecified;
    uint8_t target = 0; // the register that this gives
    uint8_t source = 0; // the register that it takes
};

struct FrameRules {
    Rule cfa;
    Rule registers[kRegisters];
    uint8_t return_register = kReturnAddress;
    bool signal = false; // the caller was interrupted: its address is that of the instruction
};

// Bytes with DWARF's variable-length numbers.
class DwarfCursor : public Cursor {
  public:
    using Cursor::Cursor;
    uint8_t u8();
    uint64_t uleb();
    int64_t sleb();
};

// One .eh_frame (with its .eh_frame_hdr, if there is one) or .debug_frame section.
class CfiSection {
  public:
    CfiSection(std::vector<uint8_t> data, uint64_t address, std::vector<uint8_t> header, uint64_t header_address,
               bool is_debug_frame, bool swap);

    // The rules at an address (as the file's symbols count), false when none are given or they are damaged.
    bool rules_at(uint64_t address, FrameRules &out);
    DwarfCursor expression(const Rule &rule) const;

  private:
    struct Cie {
        bool valid = false, augmented = false, signal = false;
        uint8_t encoding = 0, return_register = 0;
        uint64_t code_align = 0;
        int64_t data_align = 0;
        size_t program = 0, end = 0;
    };
    struct Entry { // a CIE or FDE
        size_t body, end; // body: behind the id
        uint64_t id;
        size_t id_at;
        bool wide;
    };
    struct Fde {
        uint64_t start = 0, size = 0;
        size_t program = 0, end = 0;
        const Cie *cie = nullptr;
    };
    struct Range {
        uint64_t start, end;
        size_t fde;
    };

    DwarfCursor at(size_t begin, size_t end) const;
    size_t position(const DwarfCursor &cursor) const { return static_cast<size_t>(cursor.at() - data_.data()); }
    bool entry_at(size_t offset, Entry &out) const;
    bool is_cie(const Entry &entry) const;
    const Cie *cie_at(size_t offset);
    bool fde_at(size_t offset, Fde &out);
    uint64_t pointer(DwarfCursor &cursor, uint8_t encoding) const;
    bool find_by_header(uint64_t address, size_t &fde) const;
    bool find_by_scan(uint64_t address, size_t &fde);
    bool run(DwarfCursor program, const Fde &fde, uint64_t address, const FrameRules *initial, FrameRules &state) const;

    std::vector<uint8_t> data_, header_;
    uint64_t address_, header_address_;
    bool is_debug_, swap_;
    uint64_t table_entries_ = 0; // of the header's sorted table, when it has the usual form
    size_t table_at_ = 0;
    bool scanned_ = false;
    std::vector<Range> ranges_;
    std::unordered_map<size_t, Cie> cies_;
};

} // namespace linscope
