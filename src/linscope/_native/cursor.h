// The one way bytes are read: every read is checked against the end of the buffer, and swapped when the file's
// byte order is not ours.  A failed read gives 0 and clears ok(); callers check once per record.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace linscope {

class Cursor {
  public:
    Cursor(const uint8_t *data, size_t size, bool swap) : at_(data), end_(data + size), swap_(swap) {}

    bool ok() const { return ok_; }
    size_t left() const { return static_cast<size_t>(end_ - at_); }
    const uint8_t *at() const { return at_; }

    uint64_t u64() {
        uint64_t value = raw<uint64_t>();
        return swap_ ? __builtin_bswap64(value) : value;
    }
    uint32_t u32() {
        uint32_t value = raw<uint32_t>();
        return swap_ ? __builtin_bswap32(value) : value;
    }
    uint16_t u16() {
        uint16_t value = raw<uint16_t>();
        return swap_ ? __builtin_bswap16(value) : value;
    }
    void skip(uint64_t bytes) {
        if (bytes > left()) {
            fail();
        } else {
            at_ += bytes;
        }
    }
    void skip_words(uint64_t words) {
        if (words > left() / 8) {
            fail();
        } else {
            at_ += words * 8;
        }
    }
    void fail() {
        ok_ = false;
        at_ = end_;
    }

  private:
    template <typename T> T raw() {
        T value = 0;
        if (left() < sizeof(T)) {
            fail();
            return 0;
        }
        std::memcpy(&value, at_, sizeof(T));
        at_ += sizeof(T);
        return value;
    }

    const uint8_t *at_;
    const uint8_t *end_;
    bool swap_;
    bool ok_ = true;
};

} // namespace linscope
