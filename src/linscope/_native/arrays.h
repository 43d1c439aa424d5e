// What all bindings use: buffers in, numpy arrays out.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace linscope {

template <typename T>
using Input = nanobind::ndarray<const T, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;

// Hands a vector's memory to numpy without a copy.
template <typename T> nanobind::object array_of(std::vector<T> &&values) {
    if (values.size() < (1 << 20) && values.capacity() - values.size() > values.size() / 8) {
        values.shrink_to_fit(); // columns of a chunk are kept to the end of the file
    }
    auto *kept = new std::vector<T>(std::move(values));
    nanobind::capsule owner(kept, [](void *p) noexcept { delete static_cast<std::vector<T> *>(p); });
    return nanobind::cast(
        nanobind::ndarray<nanobind::numpy, T, nanobind::ndim<1>>(kept->data(), {kept->size()}, owner));
}

class BufferView {
  public:
    explicit BufferView(nanobind::handle object) {
        if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) {
            throw nanobind::python_error();
        }
    }
    ~BufferView() { PyBuffer_Release(&view_); }
    BufferView(const BufferView &) = delete;
    BufferView &operator=(const BufferView &) = delete;
    const uint8_t *data() const { return static_cast<const uint8_t *>(view_.buf); }
    size_t size() const { return static_cast<size_t>(view_.len); }

  private:
    Py_buffer view_;
};

void bind_unwinder(nanobind::module_ &module); // unwind_module.cpp
void bind_traces(nanobind::module_ &module);   // trace_module.cpp
void bind_bpf(nanobind::module_ &module);      // bpf_module.cpp

} // namespace linscope
