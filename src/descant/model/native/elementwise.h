// Norms, rotations and gates, with their gradients.
#pragma once

#include "tensor.h"

namespace {

// Sum of x[i]^2, in the order in which PyTorch adds: a last bit here is a token there.
inline float square_sum(const bf16* x, int64_t width) {
  std::array<Floats, 4> squares = {};
  const int64_t whole = width / (4 * LANES) * (4 * LANES);
  each(width, [&](int64_t i, int64_t n) {
    const Floats value = load(x + i, n);
    squares[i < whole ? i / LANES % 4 : 0] += value * value;
  });
  return sum(squares[0] + squares[1] + squares[2] + squares[3]);
}

// One row: to = x / sqrt(mean(x^2) + eps) * gain.
inline void norm_row(bf16* to, const bf16* from, const bf16* gain, int64_t width, float eps) {
  const float scale = 1.0f / std::sqrt(square_sum(from, width) / width + eps);
  each(width, [&](int64_t i, int64_t n) {
    store(to + i, rounded(load(from + i, n) * scale) * load(gain + i, n), n);
  });
}

// x [T, E], weight [E]: x / sqrt(mean(x^2) + eps) * weight.
Tensor rms_norm(Tensor x, Tensor weight, double eps) {
  const int64_t rows = x.size(0), width = x.size(1), step = x.stride(0);
  Tensor out = torch::stable::new_empty(x, {rows, width});
  const bf16 *in = data(x), *gain = data(weight);
  bf16* to = mutable_data(out);
  parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      norm_row(to + row * width, in + row * step, gain, width, static_cast<float>(eps));
  });
  return out;
}

// x, update [T, E], weight [E]: the sum of both, and its norm.
std::tuple<Tensor, Tensor> add_rms_norm(Tensor x, Tensor update, Tensor weight, double eps) {
  const int64_t rows = x.size(0), width = x.size(1);
  Tensor total = torch::stable::new_empty(x, {rows, width});
  Tensor out = torch::stable::new_empty(x, {rows, width});
  const bf16 *left = data(x), *right = data(update), *gain = data(weight);
  const int64_t left_step = x.stride(0), right_step = update.stride(0);
  bf16 *sums = mutable_data(total), *to = mutable_data(out);
  parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      bf16* own = sums + row * width;
      const bf16 *a = left + row * left_step, *b = right + row * right_step;
      each(width, [&](int64_t i, int64_t n) { store(own + i, load(a + i, n) + load(b + i, n), n); });
      norm_row(to + row * width, own, gain, width, static_cast<float>(eps));
    }
  });
  return {total, out};
}

// The gradient of x: s * (g * w) - x * s^3 / E * sum(g * w * x), where s = 1 / sqrt(mean(x^2) + eps).
Tensor rms_norm_backward(Tensor grad, Tensor x, Tensor weight, double eps) {
  const int64_t rows = x.size(0), width = x.size(1), step = x.stride(0), grad_step = grad.stride(0);
  Tensor out = torch::stable::new_empty(x, {rows, width});
  const bf16 *g = data(grad), *in = data(x), *gain = data(weight);
  bf16* to = mutable_data(out);
  parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const bf16 *from = in + row * step, *pull = g + row * grad_step;
      Floats squares = {}, along = {};
      each(width, [&](int64_t i, int64_t n) {
        const Floats value = load(from + i, n);
        squares += value * value;
        along += load(pull + i, n) * load(gain + i, n) * value;
      });
      const float scale = 1.0f / std::sqrt(sum(squares) / width + static_cast<float>(eps));
      const float share = sum(along) * scale * scale * scale / width;
      each(width, [&](int64_t i, int64_t n) {
        const Floats own = scale * load(pull + i, n) * load(gain + i, n);
        store(to + row * width + i, own - share * load(from + i, n), n);
      });
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
  parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t head = 0; head < num; ++head) {
        const bf16* from = in + row * row_step + head * head_step;
        bf16* dest = to + (row * num + head) * dim;
        const auto turn = [&](int64_t own, int64_t partner) {
          each(half, [&](int64_t i, int64_t n) {
            const bf16 *cosine = c + row * dim + own + i, *sine = s + row * dim + own + i;
            store(dest + own + i, rounded(load(from + own + i, n) * load(cosine, n)) +
                                      rounded(load(from + partner + i, n) * load(sine, n)), n);
          });
        };
        turn(0, half);
        turn(half, 0);
      }
  });
  return out;
}

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exponential(-x)); }

// gate, up [T, F]: silu(gate) * up.
Tensor silu_mul(Tensor gate, Tensor up) {
  const int64_t rows = gate.size(0), width = gate.size(1);
  Tensor out = torch::stable::new_empty(gate, {rows, width});
  const bf16 *g = data(gate), *u = data(up);
  bf16* to = mutable_data(out);
  const int64_t gate_step = gate.stride(0), up_step = up.stride(0);
  parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      each(width, [&](int64_t i, int64_t n) {
        const Floats x = load(g + row * gate_step + i, n), y = load(u + row * up_step + i, n);
        store(to + row * width + i, silu_times(x, y), n);
      });
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
  parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      bf16* dest = to + row * 2 * width;
      each(width, [&](int64_t i, int64_t n) {
        const Floats x = load(g + row * gate_step + i, n), pull = load(d + row * grad_step + i, n);
        const Floats open = sigmoid(x);
        store(dest + i, pull * load(u + row * up_step + i, n) * open * (1.0f + x * (1.0f - open)), n);
        store(dest + width + i, pull * x * open, n);
      });
    }
  });
  return out;
}

}  // namespace
