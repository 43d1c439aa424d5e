// The targets of native.cpp that have a file of their own.
#pragma once
#include <cstddef>
#include <cstdint>

void fuzz_bpf_maps(const uint8_t *data, size_t size);
