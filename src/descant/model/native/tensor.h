// Tensors of torch's stable ABI, as the pointers that loops go over.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <tuple>
#include <vector>

#include "vector.h"

namespace {

using torch::stable::Tensor;
using torch::stable::parallel_for;

const bf16* data(const Tensor& x) { return reinterpret_cast<const bf16*>(x.data_ptr()); }
bf16* mutable_data(const Tensor& x) { return reinterpret_cast<bf16*>(x.data_ptr()); }

template <class T>
const T* values_of(const Tensor& x) { return reinterpret_cast<const T*>(x.data_ptr()); }

// Row `row` and those behind it of x [N, H, M, D].
inline const bf16* rows_of(const Tensor& x, int64_t n, int64_t head, int64_t row) {
  return data(x) + n * x.stride(0) + head * x.stride(1) + row * x.stride(2);
}

// Asks memory for what is needed soon.
template <class T>
inline void ask_for(const T* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / sizeof(T)) __builtin_prefetch(from + i, 0, 2);
}

}  // namespace
