#include "lines.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

namespace linscope {

namespace {

constexpr size_t kDigits = 24; // of a 64-bit number, its sign and 0x

class Out {
  public:
    explicit Out(std::vector<uint8_t> &text) : text_(text) {}

    size_t size() const { return used_; }
    void finish() { text_.resize(used_); }

    void put(const uint8_t *bytes, uint64_t size) {
        if (size == 0) return;
        std::memcpy(room(size), bytes, size);
        used_ += size;
    }

    void padded(std::string_view sign, std::string_view body, uint32_t flags, uint32_t width) {
        size_t length = sign.size() + body.size(), fill = width > length ? width - length : 0;
        uint8_t *to = room(length + fill);
        if (fill && !(flags & (kLeft | kZeros))) to = filled(to, ' ', fill);
        to = std::copy(sign.begin(), sign.end(), to);
        if (fill && (flags & kZeros) && !(flags & kLeft)) to = filled(to, '0', fill);
        to = std::copy(body.begin(), body.end(), to);
        if (fill && (flags & kLeft)) filled(to, ' ', fill);
        used_ += length + fill;
    }

  private:
    static uint8_t *filled(uint8_t *to, char with, size_t count) {
        std::memset(to, with, count);
        return to + count;
    }
    uint8_t *room(uint64_t size) {
        if (text_.size() - used_ < size) text_.resize(std::max<uint64_t>(text_.size() * 2, used_ + size + 4096));
        return text_.data() + used_;
    }

    std::vector<uint8_t> &text_;
    size_t used_ = 0;
};

void number(Out &out, uint64_t value, uint32_t flags, uint32_t width) {
    if (value == 0 && (flags & kNil)) return out.padded("", "(nil)", flags & kLeft, width);
    char digits[kDigits];
    bool negative = (flags & kSigned) && static_cast<int64_t>(value) < 0;
    std::string_view sign = negative ? "-" : (flags & kPrefix) && value ? (flags & kUpper ? "0X" : "0x") : "";
    char *end = std::to_chars(digits, digits + kDigits, negative ? 0 - value : value, flags & kHex ? 16 : 10).ptr;
    if (flags & kUpper) {
        for (char *c = digits; c < end; c++) *c = *c >= 'a' ? static_cast<char>(*c - 'a' + 'A') : *c;
    }
    out.padded(sign, {digits, static_cast<size_t>(end - digits)}, flags, width);
}

} // namespace

Lines write_lines(const std::vector<PieceSpec> &pieces, uint64_t rows) {
    Lines lines;
    lines.end.reserve(rows);
    Out out(lines.text);
    for (uint64_t row = 0; row < rows; row++) {
        for (const PieceSpec &piece : pieces) {
            if (piece.kind == Piece::Literal) {
                out.put(piece.bytes, piece.size);
            } else if (piece.kind == Piece::Number) {
                number(out, piece.numbers[row], piece.flags, piece.width);
            } else if (piece.kind == Piece::Text) {
                const char *text = reinterpret_cast<const char *>(piece.bytes + row * piece.size);
                out.padded("", {text, piece.size ? strnlen(text, piece.size) : 0}, piece.flags & kLeft, piece.width);
            } else {
                uint32_t which = piece.choices[row];
                uint64_t from = which ? piece.numbers[which - 1] : 0;
                out.put(piece.bytes + from, piece.numbers[which] - from);
            }
        }
        lines.end.push_back(out.size());
    }
    out.finish();
    return lines;
}

} // namespace linscope
