// Columns -> text: what printf would write of a row, for all rows at once.
#pragma once
#include <cstdint>
#include <vector>

namespace linscope {

enum class Piece : uint8_t { Literal, Number, Text, Choice };

constexpr uint32_t kSigned = 1, kHex = 2, kUpper = 4, kZeros = 8, kLeft = 16, kPrefix = 32, kNil = 64;

struct PieceSpec {
    Piece kind;
    const uint8_t *bytes;    // of a Literal; of Texts, one after the other; of Choices, joined
    uint64_t size;           // of a Literal; of one Text, which ends at its NUL
    const uint64_t *numbers; // of Numbers: one a row; of Choices: where each ends
    const uint32_t *choices; // of Choices: which one, a row
    uint32_t flags, width;   // of Numbers and Texts, as printf has them; kPrefix: 0x but before 0; kNil: 0 is "(nil)"
};

struct Lines {
    std::vector<uint8_t> text;
    std::vector<uint64_t> end; // of each row
};

Lines write_lines(const std::vector<PieceSpec> &pieces, uint64_t rows);

} // namespace linscope
