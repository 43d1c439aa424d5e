#include "ring.h"

#include <algorithm>
#include <bit>

namespace linscope {

namespace {

constexpr uint32_t kPadding = 29, kTimeExtend = 30, kTimeStamp = 31; // enum ring_buffer_type
constexpr uint32_t kDeltaBits = 27, kDeltaMask = (1u << kDeltaBits) - 1;
constexpr uint64_t kCommit = (1 << 20) - 1, kMissedEvents = 1u << 31, kMissedStored = 1 << 30;
constexpr uint64_t kStampMask = (1ull << 59) - 1; // an absolute time has no more bits; the rest is the page's
constexpr uint16_t kNoType = 0xFFFF;

class Pages {
  public:
    Pages(const uint8_t *data, RingShape shape)
        : data_(data), shape_(shape), swap_(shape.big_endian != (std::endian::native == std::endian::big)) {}

    void page(uint32_t number, uint64_t start, RingEvents &out) const {
        Cursor head(data_ + start, shape_.page_size, swap_);
        uint64_t time = head.u64(), word = shape_.long_size == 8 ? head.u64() : head.u32();
        uint64_t begin = start + 8 + shape_.long_size, room = shape_.page_size - 8 - shape_.long_size;
        uint64_t end = begin + std::min(word & kCommit, room);
        if (word & kMissedEvents) {
            Cursor behind(data_ + end, start + shape_.page_size - end, swap_);
            int64_t count = -1;
            if ((word & kMissedStored) && behind.left() >= shape_.long_size) {
                count = static_cast<int64_t>(shape_.long_size == 8 ? behind.u64() : behind.u32());
            }
            out.missed_page.push_back(number);
            out.missed.push_back(count);
        }
        uint64_t stop = events(number, time, begin, end, out);
        if (stop != end || (word & kCommit) > room) {
            out.damaged_page.push_back(number);
            out.damaged.push_back(static_cast<uint32_t>(stop != end ? stop : start));
        }
    }

  private:
    // Returns the offset of an event that makes no sense, or end.
    uint64_t events(uint32_t number, uint64_t time, uint64_t at, uint64_t end, RingEvents &out) const {
        while (at + 4 <= end) {
            Cursor event(data_ + at, end - at, swap_);
            uint32_t word = event.u32();
            uint32_t kind = shape_.big_endian ? word >> kDeltaBits : word & 31;
            uint32_t delta = shape_.big_endian ? word & kDeltaMask : word >> 5;
            if (kind == kPadding && delta == 0) return end; // nothing follows
            bool is_long = kind == 0 || kind >= kPadding;
            uint64_t extra = is_long ? event.u32() : 0;
            uint64_t size = kind == 0 ? extra - 4 : uint64_t{kind} * 4;
            uint64_t whole = kind == 0 || kind == kPadding ? 4 + ((extra + 3) & ~uint64_t{3})
                             : is_long                      ? 8
                                                            : 4 + size;
            if (!event.ok() || at + whole > end || (kind == 0 && extra < 4)) return at;
            uint64_t stamp = (extra << kDeltaBits) + delta;
            if (kind == kTimeStamp) {
                time = (time & ~kStampMask) | stamp;
            } else {
                time += kind == kTimeExtend ? stamp : delta;
            }
            if (kind < kPadding) {
                uint64_t data = at + (kind == 0 ? 8 : 4);
                Cursor fields(data_ + data, size, swap_);
                uint16_t type = fields.u16();
                fields.skip(2);
                uint32_t pid = fields.u32();
                out.time.push_back(time);
                out.at.push_back(static_cast<uint32_t>(data));
                out.size.push_back(static_cast<uint32_t>(size));
                out.page.push_back(number);
                out.type.push_back(fields.ok() ? type : kNoType);
                out.pid.push_back(pid);
            }
            at += whole;
        }
        return end;
    }

    const uint8_t *data_;
    RingShape shape_;
    bool swap_;
};

template <size_t N> void copy_all(const uint8_t *data, const uint32_t *at, size_t rows, uint32_t offset, uint8_t *to) {
    for (size_t i = 0; i < rows; i++) {
        std::memcpy(to + i * N, data + at[i] + offset, N);
    }
}

} // namespace

RingEvents ring_events(const uint8_t *data, size_t size, RingShape shape) {
    RingEvents out;
    size_t guess = size / 48; // bytes of a common event
    for (auto *column : {&out.at, &out.size, &out.page, &out.pid}) column->reserve(guess);
    out.time.reserve(guess);
    out.type.reserve(guess);
    Pages pages(data, shape);
    for (uint32_t number = 0; (uint64_t{number} + 1) * shape.page_size <= size; number++) {
        pages.page(number, uint64_t{number} * shape.page_size, out);
    }
    return out;
}

bool gather(const uint8_t *data, size_t size, const uint32_t *at, size_t rows, const std::vector<FieldPlace> &fields,
            std::vector<std::vector<uint8_t>> &out) {
    uint64_t width = 0;
    for (FieldPlace field : fields) width = std::max(width, uint64_t{field.offset} + field.size);
    for (size_t i = 0; i < rows; i++) {
        if (at[i] + width > size) return false;
    }
    constexpr size_t kBlock = 512; // rows whose data stay in the cache while one field after the other is copied
    for (FieldPlace field : fields) out.emplace_back(rows * field.size);
    for (size_t first = 0; first < rows; first += kBlock) {
        size_t count = std::min(kBlock, rows - first);
        for (size_t f = 0; f < fields.size(); f++) {
            auto [offset, bytes] = fields[f];
            uint8_t *to = out[f].data() + first * bytes;
            switch (bytes) {
            case 0: break;
            case 1: copy_all<1>(data, at + first, count, offset, to); break;
            case 2: copy_all<2>(data, at + first, count, offset, to); break;
            case 4: copy_all<4>(data, at + first, count, offset, to); break;
            case 8: copy_all<8>(data, at + first, count, offset, to); break;
            case 16: copy_all<16>(data, at + first, count, offset, to); break;
            default:
                for (size_t i = 0; i < count; i++) std::memcpy(to + i * bytes, data + at[first + i] + offset, bytes);
            }
        }
    }
    return true;
}

} // namespace linscope
