// Bindings of the user-space eBPF machine: maps as objects, and the addresses of what machine code calls.
#include <cstring>
#include <new>
#include <stdexcept>

#include "arrays.h"
#include "bpf_vm.h"

namespace nb = nanobind;

namespace linscope {
namespace {

using bpf::Map;

void check(bool holds, const char *what) {
    if (!holds) {
        throw std::invalid_argument(what);
    }
}

void make(Map *self, uint64_t type, uint64_t key, uint64_t value, uint64_t entries, uint64_t flags, uint64_t cpus,
          bool writable) {
    bool ring = type == 27 || type == 4, keyless = type == 22 || type == 23 || type == 30 || ring;
    check(type > 0 && type < 64 && (entries > 0 && entries <= 1ull << 31), "the number of entries");
    check(keyless || (key > 0 && key <= 1 << 16), "the size of the key");
    check(ring || (value > 0 && value <= 1 << 26), "the size of the value");
    check(type != 11 || (key >= 5 && key <= 260), "the size of an LPM key: 5 to 260 bytes");
    check(type != 7 || value % 8 == 0, "the value of a stack map has 8 bytes a frame");
    check(keyless || type == 11 || type == 1 || type == 5 || type == 9 || type == 10 || type == 13 || key == 4,
          "the key of an array has 4 bytes");
    check(cpus > 0 && cpus <= 1 << 16, "the number of CPUs");
    new (self) Map(type, keyless ? 0 : key, value, entries, flags, cpus, writable);
}

const uint8_t *bytes_of(nb::bytes given, uint64_t size, const char *what) {
    check(given.size() == size, what);
    return reinterpret_cast<const uint8_t *>(given.c_str());
}

nb::bytes made(const uint8_t *bytes, uint64_t size) { return nb::bytes(bytes, size); }

nb::object lookup(Map &map, nb::bytes key) {
    const uint8_t *value = map.lookup(bytes_of(key, map.key_size, "the size of the key"), 0);
    if (!value) return nb::none();
    return map.per_cpu() ? made(value, map.value_stride * map.cpus) : made(value, map.value_size);
}

int64_t update(Map &map, nb::bytes key, nb::bytes value, uint64_t how) {
    const uint8_t *k = bytes_of(key, map.key_size, "the size of the key");
    return map.update(k, bytes_of(value, map.per_cpu() ? map.value_stride * map.cpus : map.value_size, "the size of the value"), how, -1);
}

nb::object pop(Map &map, bool keep) {
    std::vector<uint8_t> value(map.value_size);
    return map.pop(value.data(), keep) ? nb::object(nb::none()) : made(value.data(), value.size());
}

nb::tuple dump(Map &map) {
    std::vector<uint8_t> keys, values;
    uint64_t cursor = 0, size = map.per_cpu() ? map.value_stride * map.cpus : map.value_size;
    uint8_t *key, *value;
    while (map.next(cursor, key, value, 0)) {
        keys.insert(keys.end(), key, key + map.key_size);
        values.insert(values.end(), value, value + size);
    }
    return nb::make_tuple(made(keys.data(), keys.size()), made(values.data(), values.size()));
}

nb::object next(Map &map, uint64_t cursor, uint64_t cpu) {
    uint8_t *key, *value;
    if (!map.next(cursor, key, value, cpu)) return nb::none();
    return nb::make_tuple(cursor, reinterpret_cast<uint64_t>(key), reinterpret_cast<uint64_t>(value));
}

} // namespace

void bind_bpf(nb::module_ &module) {
    nb::class_<Map>(module, "BpfMap")
        .def("__init__", &make, nb::arg("type"), nb::arg("key_size"), nb::arg("value_size"), nb::arg("max_entries"),
             nb::arg("flags"), nb::arg("cpus"), nb::arg("writable"))
        .def_prop_ro("address", [](Map &map) { return reinterpret_cast<uint64_t>(&map); })
        .def("lookup", &lookup)
        .def("update", &update)
        .def("delete", [](Map &map, nb::bytes key) { return map.erase(bytes_of(key, map.key_size, "the size of the key")); })
        .def("push", [](Map &map, nb::bytes v, uint64_t how) { return map.push(bytes_of(v, map.value_size, "the size of the value"), how); })
        .def("pop", &pop)
        .def("contains", [](Map &map, nb::bytes v) { // of a bloom filter
            return map.pop(const_cast<uint8_t *>(bytes_of(v, map.value_size, "the size of the value")), true) == 0;
        })
        .def("stack_id", [](Map &map, Input<uint64_t> stack, uint64_t how) { return map.stack_id(stack.data(), stack.size(), how); })
        .def("next", &next)
        .def("dump", &dump)
        .def("clear", &Map::clear);
    module.def("bpf_functions", [] {
        nb::dict all;
        for (const bpf::Named &one : bpf::functions()) all[one.name] = one.address;
        return all;
    });
    module.def("bpf_layout", [] { return nb::make_tuple(sizeof(bpf::Vm), offsetof(bpf::Vm, helpers), sizeof(bpf::MapHead)); });
}

} // namespace linscope
