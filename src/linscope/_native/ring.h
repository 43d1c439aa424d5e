// Pages of the kernel's trace ring buffer (kernel/trace/ring_buffer.c) -> where each event's data lie and when it
// happened; and the fields of events -> columns.
#pragma once
#include <cstdint>
#include <vector>

#include "cursor.h"

namespace linscope {

struct RingEvents { // in the order of the pages
    std::vector<uint64_t> time;
    std::vector<uint32_t> at, size, page; // data in the buffer: offset and bytes; number of the page
    std::vector<uint32_t> pid;            // common_pid and common_type; 0 and 0xFFFF where the data are too short
    std::vector<uint16_t> type;
    std::vector<uint32_t> missed_page, damaged_page;
    std::vector<int64_t> missed; // events lost before missed_page; -1: some
    std::vector<uint32_t> damaged; // offset at which the events of damaged_page stop making sense
};

struct RingShape {
    uint32_t page_size, long_size; // bytes
    bool big_endian;               // the order of the machine that wrote it
};

// Pages lie one behind the other from the start of data; a rest smaller than a page is not looked at.
RingEvents ring_events(const uint8_t *data, size_t size, RingShape shape);

struct FieldPlace {
    uint32_t offset, size; // bytes, from the start of an event's data
};

// One array of rows * size bytes a field.  Returns false when an event's fields are not inside of the buffer.
bool gather(const uint8_t *data, size_t size, const uint32_t *at, size_t rows, const std::vector<FieldPlace> &fields,
            std::vector<std::vector<uint8_t>> &out);

} // namespace linscope
