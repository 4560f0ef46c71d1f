// The few operations of a decode step that cost more in dispatch and copies than in arithmetic.
//
// bfloat16 only. Every function has a twin in plain PyTorch (`descant.model.ops`) that says what it
// computes; roundings to bfloat16 stand in the same places, so that norms, rotations and products
// of gates are equal bit for bit. Built for torch's stable ABI: one binary for later versions.

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace {

using torch::stable::Tensor;
using bf16 = uint16_t;

inline float widen(bf16 x) {
  uint32_t bits = static_cast<uint32_t>(x) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// Rounds to nearest, ties to even, as PyTorch does.
inline bf16 narrow(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
  return static_cast<bf16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// exp to about 1e-6, in a form that compilers turn into vector instructions.
inline float exponential(float x) {
  x = std::min(std::max(x, -87.0f), 88.0f);
  const float n = std::nearbyint(x * 1.44269504f);
  const float f = x - n * 0.693147181f;
  const float p = 1 + f * (1 + f * (0.5f + f * (0.166666667f + f * (0.0416666667f +
                  f * (0.00833333333f + f * 0.00138888889f)))));
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, 4);
  return p * power;
}

inline float rounded(float x) { return widen(narrow(x)); }

const bf16* data(const Tensor& x) { return reinterpret_cast<const bf16*>(x.data_ptr()); }
bf16* mutable_data(const Tensor& x) { return reinterpret_cast<bf16*>(x.data_ptr()); }

// x [T, E], weight [E]: x / sqrt(mean(x^2) + eps) * weight.
Tensor rms_norm(Tensor x, Tensor weight, double eps) {
  const int64_t rows = x.size(0), width = x.size(1), step = x.stride(0);
  Tensor out = torch::stable::new_empty(x, {rows, width});
  const bf16 *in = data(x), *gain = data(weight);
  bf16* to = mutable_data(out);
  torch::stable::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const bf16* from = in + row * step;
      float sum = 0;
      for (int64_t i = 0; i < width; ++i) sum += widen(from[i]) * widen(from[i]);
      const float scale = 1.0f / std::sqrt(sum / width + static_cast<float>(eps));
      for (int64_t i = 0; i < width; ++i)
        to[row * width + i] = narrow(rounded(widen(from[i]) * scale) * widen(gain[i]));
    }
  });
  return out;
}

// The gradient of x: s * (g * w) - x * s^3 / E * sum(g * w * x), where s = 1 / sqrt(mean(x^2) + eps).
Tensor rms_norm_backward(Tensor grad, Tensor x, Tensor weight, double eps) {
  const int64_t rows = x.size(0), width = x.size(1), step = x.stride(0), grad_step = grad.stride(0);
  Tensor out = torch::stable::new_empty(x, {rows, width});
  const bf16 *g = data(grad), *in = data(x), *gain = data(weight);
  bf16* to = mutable_data(out);
  torch::stable::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const bf16 *from = in + row * step, *pull = g + row * grad_step;
      float sum = 0, along = 0;
      for (int64_t i = 0; i < width; ++i) {
        const float value = widen(from[i]);
        sum += value * value;
        along += widen(pull[i]) * widen(gain[i]) * value;
      }
      const float scale = 1.0f / std::sqrt(sum / width + static_cast<float>(eps));
      const float share = along * scale * scale * scale / width;
      for (int64_t i = 0; i < width; ++i)
        to[row * width + i] =
            narrow(scale * widen(pull[i]) * widen(gain[i]) - share * widen(from[i]));
    }
  });
  return out;
}

// heads [T, N, D] with neighbouring N, cos and sin [T, 1, D]: heads * cos + roll(heads, D/2) * sin.
Tensor rotate(Tensor heads, Tensor cos, Tensor sin) {
  const int64_t rows = heads.size(0), num = heads.size(1), dim = heads.size(2), half = dim / 2;
  Tensor out = torch::stable::new_empty(heads, {rows, num, dim});
  const bf16 *in = data(heads), *c = data(cos), *s = data(sin);
  bf16* to = mutable_data(out);
  const int64_t row_step = heads.stride(0), head_step = heads.stride(1);
  torch::stable::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t head = 0; head < num; ++head) {
        const bf16* from = in + row * row_step + head * head_step;
        bf16* dest = to + (row * num + head) * dim;
        for (int64_t i = 0; i < dim; ++i) {
          const int64_t partner = i < half ? i + half : i - half;
          dest[i] = narrow(rounded(widen(from[i]) * widen(c[row * dim + i])) +
                           rounded(widen(from[partner]) * widen(s[row * dim + i])));
        }
      }
  });
  return out;
}

// gate, up [T, F]: silu(gate) * up.
Tensor silu_mul(Tensor gate, Tensor up) {
  const int64_t rows = gate.size(0), width = gate.size(1);
  Tensor out = torch::stable::new_empty(gate, {rows, width});
  const bf16 *g = data(gate), *u = data(up);
  bf16* to = mutable_data(out);
  const int64_t gate_step = gate.stride(0), up_step = up.stride(0);
  torch::stable::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t i = 0; i < width; ++i) {
        const float x = widen(g[row * gate_step + i]);
        to[row * width + i] =
            narrow(rounded(x / (1.0f + exponential(-x))) * widen(u[row * up_step + i]));
      }
  });
  return out;
}

// The gradients of gate and up, beside each other [T, 2F].
Tensor silu_mul_backward(Tensor grad, Tensor gate, Tensor up) {
  const int64_t rows = gate.size(0), width = gate.size(1);
  Tensor out = torch::stable::new_empty(gate, {rows, 2 * width});
  const bf16 *d = data(grad), *g = data(gate), *u = data(up);
  bf16* to = mutable_data(out);
  const int64_t grad_step = grad.stride(0), gate_step = gate.stride(0), up_step = up.stride(0);
  torch::stable::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      bf16* dest = to + row * 2 * width;
      for (int64_t i = 0; i < width; ++i) {
        const float x = widen(g[row * gate_step + i]), pull = widen(d[row * grad_step + i]);
        const float open = 1.0f / (1.0f + exponential(-x));
        dest[i] = narrow(pull * widen(u[row * up_step + i]) * open * (1.0f + x * (1.0f - open)));
        dest[width + i] = narrow(pull * x * open);
      }
    }
  });
  return out;
}

// cache [G, S, D], x [T, G, D], slots [T]: cache[:, slots] = x.
void write_slots(Tensor cache, Tensor x, Tensor slots) {
  const int64_t rows = x.size(0), groups = x.size(1), dim = x.size(2);
  const int64_t plane = cache.stride(0), row_step = x.stride(0), head_step = x.stride(1);
  const bf16* from = data(x);
  const int64_t* places = reinterpret_cast<const int64_t*>(slots.data_ptr());
  bf16* to = mutable_data(cache);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t group = 0; group < groups; ++group)
      std::memcpy(to + group * plane + places[row] * dim, from + row * row_step + group * head_step,
                  dim * sizeof(bf16));
}

// Sum of x[i] * w[i].
inline float product(const bf16* x, const bf16* w, int64_t size) {
  int64_t i = 0;
  float sum = 0;
#if defined(__AVX512BF16__)
  __m512 first = _mm512_setzero_ps(), second = _mm512_setzero_ps();
  for (; i + 64 <= size; i += 64) {
    first = _mm512_dpbf16_ps(first, (__m512bh)_mm512_loadu_si512(x + i),
                             (__m512bh)_mm512_loadu_si512(w + i));
    second = _mm512_dpbf16_ps(second, (__m512bh)_mm512_loadu_si512(x + i + 32),
                              (__m512bh)_mm512_loadu_si512(w + i + 32));
  }
  sum = _mm512_reduce_add_ps(_mm512_add_ps(first, second));
#endif
  for (; i < size; ++i) sum += widen(x[i]) * widen(w[i]);
  return sum;
}

// Scores of `count` keys become weights that sum to 1.
inline void softmax(float* scores, int64_t count) {
  const float most = *std::max_element(scores, scores + count);
  float total = 0;
  for (int64_t c = 0; c < count; ++c) scores[c] = exponential(scores[c] - most);
  for (int64_t c = 0; c < count; ++c) total += scores[c];
  for (int64_t c = 0; c < count; ++c) scores[c] /= total;
}

// sums[h, i] += weights[h, c] * v[i] for the queries that share a key head.
inline void add_value(float* __restrict sums, const float* __restrict weights,
                      const bf16* __restrict v, int64_t share, int64_t count, int64_t dim) {
  for (int64_t h = 0; h < share; ++h) {
    const float weight = weights[h * count];
    float* __restrict to = sums + h * dim;
    for (int64_t i = 0; i < dim; ++i) to[i] += weight * widen(v[i]);
  }
}

// One token of each of N sequences over all its cached keys, its own included.
// q [N, H, D]; keys, values [G, S, D]; slots [N, C] padded, lengths [N].
Tensor decode_attention(Tensor q, Tensor keys, Tensor values, Tensor slots, Tensor lengths) {
  const int64_t num = q.size(0), heads = q.size(1), dim = q.size(2);
  const int64_t groups = keys.size(0), share = heads / groups, width = slots.size(1);
  Tensor out = torch::stable::new_empty(q, {num, heads, dim});
  const bf16 *query = data(q), *key = data(keys), *value = data(values);
  const int64_t* places = reinterpret_cast<const int64_t*>(slots.data_ptr());
  const int64_t* counts = reinterpret_cast<const int64_t*>(lengths.data_ptr());
  bf16* to = mutable_data(out);
  const int64_t row_step = q.stride(0), head_step = q.stride(1);
  const int64_t key_plane = keys.stride(0), value_plane = values.stride(0);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  torch::stable::parallel_for(0, num * groups, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scores, sums(share * dim);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row = item / groups, group = item % groups, count = counts[row];
      const int64_t* own = places + row * width;
      const bf16* rows = query + row * row_step + group * share * head_step;
      scores.resize(share * count);
      for (int64_t c = 0; c < count; ++c) {
        const bf16* k = key + group * key_plane + own[c] * dim;
        for (int64_t h = 0; h < share; ++h)
          scores[h * count + c] = product(rows + h * head_step, k, dim) * scale;
      }
      for (int64_t h = 0; h < share; ++h) softmax(scores.data() + h * count, count);
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (int64_t c = 0; c < count; ++c)
        add_value(sums.data(), scores.data() + c, value + group * value_plane + own[c] * dim,
                  share, count, dim);
      for (int64_t i = 0; i < share * dim; ++i)
        to[(row * heads + group * share) * dim + i] = narrow(sums[i]);
    }
  });
  return out;
}

// x [1, K], weight [O, K]: x @ weight^T. One token reads every weight once; blocking cannot help.
Tensor linear_row(Tensor x, Tensor weight) {
  const int64_t outputs = weight.size(0), width = weight.size(1);
  Tensor out = torch::stable::new_empty(x, {1, outputs});
  const bf16 *in = data(x), *w = data(weight);
  bf16* to = mutable_data(out);
  torch::stable::parallel_for(0, outputs, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      to[row] = narrow(product(in, w + row * width, width));
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY(descant, m) {
  m.def("rms_norm(Tensor x, Tensor weight, float eps) -> Tensor");
  m.def("rms_norm_backward(Tensor grad, Tensor x, Tensor weight, float eps) -> Tensor");
  m.def("silu_mul_backward(Tensor grad, Tensor gate, Tensor up) -> Tensor");
  m.def("rotate(Tensor heads, Tensor cos, Tensor sin) -> Tensor");
  m.def("silu_mul(Tensor gate, Tensor up) -> Tensor");
  m.def("write_slots(Tensor(a!) cache, Tensor x, Tensor slots) -> ()");
  m.def("decode_attention(Tensor q, Tensor keys, Tensor values, Tensor slots, Tensor lengths) -> Tensor");
  m.def("linear_row(Tensor x, Tensor weight) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(descant, CPU, m) {
  m.impl("rms_norm", TORCH_BOX(&rms_norm));
  m.impl("rms_norm_backward", TORCH_BOX(&rms_norm_backward));
  m.impl("silu_mul_backward", TORCH_BOX(&silu_mul_backward));
  m.impl("rotate", TORCH_BOX(&rotate));
  m.impl("silu_mul", TORCH_BOX(&silu_mul));
  m.impl("write_slots", TORCH_BOX(&write_slots));
  m.impl("decode_attention", TORCH_BOX(&decode_attention));
  m.impl("linear_row", TORCH_BOX(&linear_row));
}
