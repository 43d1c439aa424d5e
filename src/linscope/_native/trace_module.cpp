// Bindings of what reads and prints kernel traces: ring-buffer pages, columns of fields, lines of text.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <tuple>

#include "arrays.h"
#include "lines.h"
#include "ring.h"

namespace nb = nanobind;

namespace linscope {
namespace {

constexpr uint32_t kLargestPage = 1 << 26;

void check(bool holds, const char *what) {
    if (!holds) {
        throw std::invalid_argument(what);
    }
}

nb::dict ring(nb::handle buffer, uint32_t page_size, uint32_t long_size, bool big_endian) {
    BufferView view(buffer);
    check(view.size() <= 0xFFFFFFFFull, "a chunk over 4 GiB");
    check(long_size == 4 || long_size == 8, "a long has 4 or 8 bytes");
    check(page_size >= 64 && page_size <= kLargestPage, "a page has 64 bytes to 64 MiB");
    RingEvents r;
    {
        nb::gil_scoped_release release;
        r = ring_events(view.data(), view.size(), {page_size, long_size, big_endian});
    }
    nb::dict out;
    out["time"] = array_of(std::move(r.time));
    out["at"] = array_of(std::move(r.at));
    out["size"] = array_of(std::move(r.size));
    out["page"] = array_of(std::move(r.page));
    out["pid"] = array_of(std::move(r.pid));
    out["type"] = array_of(std::move(r.type));
    out["missed_page"] = array_of(std::move(r.missed_page));
    out["missed"] = array_of(std::move(r.missed));
    out["damaged_page"] = array_of(std::move(r.damaged_page));
    out["damaged"] = array_of(std::move(r.damaged));
    return out;
}

nb::list gather_arrays(nb::handle buffer, Input<uint32_t> at, std::vector<std::tuple<uint32_t, uint32_t>> fields) {
    BufferView view(buffer);
    std::vector<FieldPlace> places;
    for (auto [offset, size] : fields) places.push_back({offset, size});
    std::vector<std::vector<uint8_t>> columns;
    bool inside;
    {
        nb::gil_scoped_release release;
        inside = gather(view.data(), view.size(), at.data(), at.size(), places, columns);
    }
    check(inside, "fields beyond the buffer");
    nb::list out;
    for (auto &column : columns) out.append(array_of(std::move(column)));
    return out;
}

PieceSpec piece_of(nb::tuple words, uint64_t rows) {
    PieceSpec piece{};
    piece.kind = static_cast<Piece>(nb::cast<uint8_t>(words[0]));
    if (piece.kind == Piece::Literal) {
        auto text = nb::cast<nb::bytes>(words[1]);
        piece.bytes = reinterpret_cast<const uint8_t *>(text.c_str());
        piece.size = text.size();
    } else if (piece.kind == Piece::Number) {
        auto numbers = nb::cast<Input<uint64_t>>(words[1], false);
        check(numbers.size() == rows, "one number a row");
        piece.numbers = numbers.data();
        piece.flags = nb::cast<uint32_t>(words[2]);
        piece.width = nb::cast<uint32_t>(words[3]);
    } else if (piece.kind == Piece::Text) {
        auto texts = nb::cast<Input<uint8_t>>(words[1], false);
        piece.size = nb::cast<uint32_t>(words[2]);
        check(texts.size() == rows * piece.size, "one text a row");
        piece.bytes = texts.data();
        piece.flags = nb::cast<uint32_t>(words[3]);
        piece.width = nb::cast<uint32_t>(words[4]);
    } else {
        check(piece.kind == Piece::Choice, "no such piece");
        auto choices = nb::cast<Input<uint32_t>>(words[1], false);
        auto texts = nb::cast<nb::bytes>(words[2]);
        auto ends = nb::cast<Input<uint64_t>>(words[3], false);
        check(choices.size() == rows, "one choice a row");
        for (size_t i = 0; i < ends.size(); i++) {
            check(ends.data()[i] <= texts.size() && (i == 0 || ends.data()[i - 1] <= ends.data()[i]), "ends of texts");
        }
        for (size_t i = 0; i < rows; i++) check(choices.data()[i] < ends.size(), "a choice out of range");
        piece.choices = choices.data();
        piece.numbers = ends.data();
        piece.bytes = reinterpret_cast<const uint8_t *>(texts.c_str());
    }
    check(piece.width <= 1 << 20, "a width over a million");
    return piece;
}

nb::tuple lines(nb::list pieces, uint64_t rows) { // the list keeps alive what the pieces point into
    std::vector<PieceSpec> specs;
    for (nb::handle one : pieces) specs.push_back(piece_of(nb::cast<nb::tuple>(one), rows));
    Lines made;
    {
        nb::gil_scoped_release release;
        made = write_lines(specs, rows);
    }
    nb::bytes text(reinterpret_cast<const char *>(made.text.data()), made.text.size());
    return nb::make_tuple(text, array_of(std::move(made.end)));
}

} // namespace

void bind_traces(nb::module_ &module) {
    module.def("ring_events", &ring, nb::arg("buffer"), nb::arg("page_size"), nb::arg("long_size"),
               nb::arg("big_endian"));
    module.def("gather", &gather_arrays);
    module.def("write_lines", &lines);
}

} // namespace linscope
