// The few operations of a decode step that cost more in dispatch and copies than in arithmetic.
//
// bfloat16 only. Every function has a twin in plain PyTorch (`descant.model.ops`, `partial_attention`,
// `quantization`, `low_rank`) that says what it computes; roundings to bfloat16 stand in the same
// places, so that rotations are equal bit for bit and the others up to the order of sums. Built for
// torch's stable ABI: one binary for later versions.

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
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
        const Floats x = load(g + row * gate_step + i, n);
        store(to + row * width + i,
              rounded(x / (1.0f + exponential(-x))) * load(u + row * up_step + i, n), n);
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

// keys, values [G, S, D], k, v [T, G, D], slots [T]: keys[:, slots] = k, values[:, slots] = v.
void write_slots(Tensor cache, Tensor x, Tensor slots) {
  const int64_t rows = x.size(0), groups = x.size(1), dim = x.size(2);
  const int64_t plane = cache.stride(0), row_step = x.stride(0), head_step = x.stride(1);
  const bf16* from = data(x);
  const int64_t* places = values_of<int64_t>(slots);
  bf16* to = mutable_data(cache);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t group = 0; group < groups; ++group)
      std::memcpy(to + group * plane + places[row] * dim, from + row * row_step + group * head_step,
                  dim * sizeof(bf16));
}

// Asks memory for what is needed soon.
template <class T>
inline void ask_for(const T* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / sizeof(T)) __builtin_prefetch(from + i, 0, 2);
}

// Sixteen parts of the sum of x[i] * w[i].
[[gnu::always_inline]] inline Floats products(const bf16* x, const bf16* w, int64_t size) {
  Floats first = {}, second = {};
  int64_t i = 0;
  const auto pairs = [&](Floats sums, int64_t at) {
    Bits a, b;
    std::memcpy(&a, x + at, sizeof a);
    std::memcpy(&b, w + at, sizeof b);
    return add_pairs(sums, a, b);
  };
  for (; i + 64 <= size; i += 64) {
    first = pairs(first, i);
    second = pairs(second, i + 32);
  }
  each(size - i, [&](int64_t j, int64_t n) { first += load(x + i + j, n) * load(w + i + j, n); });
  return first + second;
}

// scores[c] = q . keys[places[c]] * scale, for up to sixteen keys.
[[gnu::always_inline]] inline void score(float* scores, const bf16* q, const bf16* keys, const int64_t* places,
                  int64_t count, int64_t dim, float scale) {
  Floats parts[LANES] = {};
  for (int64_t c = 0; c < count; ++c) parts[c] = products(q, keys + places[c] * dim, dim);
  store(scores, sums_of(parts) * scale, count);
}

// Scores of `count` keys become weights that sum to 1.
inline void softmax(float* scores, int64_t count) {
  const float most = *std::max_element(scores, scores + count);
  Floats total = {};
  each(count, [&](int64_t c, int64_t n) {
    store(scores + c, exponential(load(scores + c, n) - most), n);
    total += load(scores + c, n);
  });
  const float share = 1.0f / sum(total);
  each(count, [&](int64_t c, int64_t n) { store(scores + c, load(scores + c, n) * share, n); });
}

// Four times sixteen dimensions of a sum over values stay in registers.
constexpr int64_t VALUE_LANES = 4 * LANES;

// to[i] = sum_c weights[c] * values[places[c], i] for `width` of the dimensions.
[[gnu::always_inline]] inline void weigh(bf16* to, const float* weights, const bf16* values, const int64_t* places,
                  int64_t count, int64_t dim, int64_t width) {
  Floats sums[4] = {};
  if (width == VALUE_LANES) {
    Floats a = {}, b = {}, c = {}, d = {};
    for (int64_t key = 0; key < count; ++key) {
      const bf16* value = values + places[key] * dim;
      a += weights[key] * load(value, LANES);
      b += weights[key] * load(value + LANES, LANES);
      c += weights[key] * load(value + 2 * LANES, LANES);
      d += weights[key] * load(value + 3 * LANES, LANES);
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
  } else {
    for (int64_t key = 0; key < count; ++key)
      each(width, [&](int64_t i, int64_t n) {
        sums[i / LANES] += weights[key] * load(values + places[key] * dim + i, n);
      });
  }
  each(width, [&](int64_t i, int64_t n) { store(to + i, sums[i / LANES], n); });
}

// One query over the cached keys of its sequence; heads that share a key head one after the other.
struct Query {
  const bf16 *q, *keys, *values;
  const int64_t* places;
  int64_t count, share, head_step, dim;
  float scale;
  bf16* out;
};

// With the head size known beforehand, sums stay in registers.
template <int64_t DIM>
void attend(const Query& one, std::vector<float>& scores) {
  const int64_t dim = DIM ? DIM : one.dim, count = one.count;
  scores.resize(one.share * count);
  each(count, [&](int64_t c, int64_t n) {
    // Blocks lie anywhere: what comes next is asked for, keys now and values for afterwards.
    for (int64_t i = c; i < c + n; ++i) {
      ask_for(one.values + one.places[i] * dim, dim);
      ask_for(one.keys + one.places[std::min(i + 2 * LANES, count - 1)] * dim, dim);
    }
    for (int64_t h = 0; h < one.share; ++h)
      score(scores.data() + h * count + c, one.q + h * one.head_step, one.keys, one.places + c, n,
            dim, one.scale);
  });
  for (int64_t h = 0; h < one.share; ++h) {
    float* weights = scores.data() + h * count;
    softmax(weights, count);
    for (int64_t i = 0; i < dim; i += VALUE_LANES)
      weigh(one.out + h * dim + i, weights, one.values + i, one.places, count, dim,
            std::min(VALUE_LANES, dim - i));
  }
}

// One token of each of N sequences over all its cached keys, its own included.
// q [N, H, D]; keys, values [G, S, D]; slots [N, C] padded, lengths [N].
Tensor decode_attention(Tensor q, Tensor keys, Tensor values, Tensor slots, Tensor lengths) {
  const int64_t num = q.size(0), heads = q.size(1), dim = q.size(2);
  const int64_t groups = keys.size(0), share = heads / groups, width = slots.size(1);
  Tensor out = torch::stable::new_empty(q, {num, heads, dim});
  const int64_t *places = values_of<int64_t>(slots), *counts = values_of<int64_t>(lengths);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const auto run = dim == 64 ? attend<64> : dim == 128 ? attend<128> : attend<0>;
  parallel_for(0, num * groups, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scores;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row = item / groups, group = item % groups, head = group * share;
      run({data(q) + row * q.stride(0) + head * q.stride(1), data(keys) + group * keys.stride(0),
           data(values) + group * values.stride(0), places + row * width, counts[row], share,
           q.stride(1), dim, scale, mutable_data(out) + (row * heads + head) * dim},
          scores);
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
  parallel_for(0, outputs, 64, [&](int64_t begin, int64_t end) {
    each(end - begin, [&](int64_t row, int64_t n) {
      Floats parts[LANES] = {};
      ask_for(w + (begin + row + LANES) * width, LANES * width);
      for (int64_t i = 0; i < n; ++i) parts[i] = products(in, w + (begin + row + i) * width, width);
      store(to + begin + row, sums_of(parts), n);
    });
  });
  return out;
}

#if defined(__AMX_BF16__)

// Products by a weight that was cut into AMX tiles once, for steps of few tokens: the weight is read
// once, in order, and asked for ahead of time. A token's sums are the same bits whatever else is in
// the step.
constexpr int64_t TILE_ROWS = 16, TILE_INPUTS = 32, TILE_SIZE = TILE_ROWS * TILE_INPUTS;

struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles 0 to 3 are sums, 4 and 5 two times up to 16 tokens, 6 and 7 two times 16 outputs.
inline void shape_tiles(int64_t tokens) {
  TileShapes shapes;
  const int64_t first = std::min(tokens, TILE_ROWS), second = std::max<int64_t>(tokens - TILE_ROWS, 1);
  for (int tile = 0; tile < 8; ++tile) {
    const bool is_weight = tile >= 6, is_second = tile == 2 || tile == 3 || tile == 5;
    shapes.row_bytes[tile] = 64;
    shapes.rows[tile] = static_cast<uint8_t>(is_weight ? TILE_ROWS : is_second ? second : first);
  }
  _tile_loadconfig(&shapes);
}

// How far ahead of its use a tile of the weight is asked for.
constexpr int64_t AHEAD = 16;


// 32 outputs of up to 32 tokens: sums [32, 32] = x @ weight^T, over `depth` tiles of inputs.
inline void tile_sums(float* sums, const bf16* x, int64_t x_step, const bf16* weight, int64_t depth,
                      bool two, bool is_first) {
  const bf16* other = weight + depth * TILE_SIZE;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < depth; ++k) {
    if (is_first) {
      ask_for(weight + (k + AHEAD) * TILE_SIZE, TILE_SIZE);
      ask_for(other + (k + AHEAD) * TILE_SIZE, TILE_SIZE);
    }
    _tile_loadd(4, x + k * TILE_INPUTS, x_step * 2);
    _tile_loadd(6, weight + k * TILE_SIZE, 64);
    _tile_loadd(7, other + k * TILE_SIZE, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (two) {
      _tile_loadd(5, x + TILE_ROWS * x_step + k * TILE_INPUTS, x_step * 2);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, 128);
  _tile_stored(1, sums + TILE_ROWS, 128);
  if (two) {
    _tile_stored(2, sums + TILE_ROWS * 32, 128);
    _tile_stored(3, sums + TILE_ROWS * 32 + TILE_ROWS, 128);
  }
}

// x [T, K], weight [O / 16, K / 32, 16, 16, 2]: x @ weight^T.
Tensor tile_linear(Tensor x, Tensor weight) {
  const int64_t tokens = x.size(0), step = x.stride(0), depth = weight.size(1);
  const int64_t outputs = weight.size(0) * TILE_ROWS;
  Tensor out = torch::stable::new_empty(x, {tokens, outputs});
  const int64_t count = std::min<int64_t>(32, tokens);
  const bf16 *in = data(x), *w = data(weight);
  bf16* to = mutable_data(out);
  parallel_for(0, outputs / 32, 1, [&](int64_t begin, int64_t end) {
    alignas(64) float sums[32 * 32];
    shape_tiles(count);
    for (int64_t pair = begin; pair < end; ++pair) {
      for (int64_t panel = 0; panel < tokens; panel += 32) {
        // The last panel overlaps the one before: another shape of the tiles takes longer.
        const int64_t first = std::min(panel, tokens - count);
        tile_sums(sums, in + first * step, step, w + pair * 2 * depth * TILE_SIZE, depth,
                  count > TILE_ROWS, first == 0);
        for (int64_t token = 0; token < count; ++token) {
          bf16* dest = to + (first + token) * outputs + pair * 32;
          store(dest, load(sums + token * 32, LANES), LANES);
          store(dest + LANES, load(sums + token * 32 + LANES, LANES), LANES);
        }
      }
    }
    _tile_release();
  });
  return out;
}

#endif

// A token's activations as unsigned digits to base 256, as `to_byte` and `to_two_bytes` make them.
struct Digits {
  std::vector<uint8_t> high, low;  // `high` is empty where there is one digit
  float scale;
};

Digits digits_of(const bf16* x, int64_t width, bool two) {
  const int64_t padded = (width + 63) / 64 * 64;
  Digits digits{std::vector<uint8_t>(two ? padded : 0), std::vector<uint8_t>(padded), 0};
  float most = 0;
  for (int64_t i = 0; i < width; ++i) most = std::max(most, std::fabs(widen(x[i])));
  const float largest = two ? 127.0f * 256.0f : 127.0f, middle = two ? 32896.5f : 128.5f;
  digits.scale = std::max(most / largest, std::numeric_limits<float>::min());
  for (int64_t i = 0; i < width; ++i) {
    const float shifted = widen(x[i]) / digits.scale + middle;
    const int32_t whole = static_cast<int32_t>(shifted);
    if (two) digits.high[i] = static_cast<uint8_t>(whole >> 8);
    digits.low[i] = static_cast<uint8_t>(whole & 255);
  }
  return digits;
}

// Sixteen parts of the sum of digits[i] * values[i].
[[gnu::always_inline]] inline Ints byte_products(const uint8_t* digits, const int8_t* values,
                                                 int64_t width) {
  Ints sums = {};
  Bits a, b;
  int64_t i = 0;
  for (; i + 64 <= width; i += 64) {
    std::memcpy(&a, digits + i, sizeof a);
    std::memcpy(&b, values + i, sizeof b);
    sums = add_bytes(sums, a, b);
  }
  for (; i < width; ++i) sums[0] += digits[i] * values[i];
  return sums;
}

// For up to sixteen rows of the weight: sum_i (digits[i] - 128) * values[row, i] * scales[row], where
// `totals` are the sums of each row's values.
inline Floats digit_sums(const uint8_t* digits, const int8_t* values, const float* scales,
                         const int32_t* totals, int64_t count, int64_t width) {
  Ints parts[LANES] = {}, all = {};
  for (int64_t row = 0; row < count; ++row) {
    parts[row] = byte_products(digits, values + row * width, width);
    all[row] = totals[row];
  }
  return __builtin_convertvector(sums_of(parts) - 128 * all, Floats) * load(scales, count);
}

// x [1, K], weight [O, K] in int8 with a scale [O] and the sum [O] of each row: x @ (weight * scale)^T
// in float32, activations rounded to one digit or to two.
Tensor byte_row(Tensor x, Tensor weight, Tensor scale, Tensor sums, bool two) {
  const int64_t outputs = weight.size(0), width = weight.size(1);
  Tensor out = torch::stable::new_empty(scale, {1, outputs});
  const Digits digits = digits_of(data(x), width, two);
  const int8_t* w = values_of<int8_t>(weight);
  const float* scales = values_of<float>(scale);
  const int32_t* totals = values_of<int32_t>(sums);
  float* to = reinterpret_cast<float*>(out.data_ptr());
  parallel_for(0, outputs, 64, [&](int64_t begin, int64_t end) {
    each(end - begin, [&](int64_t offset, int64_t n) {
      const int64_t row = begin + offset;
      ask_for(w + (row + LANES) * width, LANES * width);
      const auto part = [&](const std::vector<uint8_t>& digit) {
        return digit_sums(digit.data(), w + row * width, scales + row, totals + row, n, width);
      };
      const Floats low = part(digits.low);
      store(to + row, (two ? low + 256.0f * part(digits.high) : low) * digits.scale, n);
    });
  });
  return out;
}

// to[k] += sum_i x[i] * matrix[i, k], k below `width`; rows of the matrix lie `step` apart.
template <int PARTS>
inline void shrink_part(float* to, const bf16* x, const bf16* matrix, int64_t inputs, int64_t step,
                        int64_t width) {
  Floats totals[PARTS] = {};
  const int64_t last = width - (PARTS - 1) * LANES;
  for (int64_t i = 0; i < inputs; ++i) {
    const float value = widen(x[i]);
    const bf16* row = matrix + i * step;
    for (int part = 0; part + 1 < PARTS; ++part) totals[part] += value * load(row + part * LANES, LANES);
    totals[PARTS - 1] += value * load(row + (PARTS - 1) * LANES, last);
  }
  for (int part = 0; part + 1 < PARTS; ++part) store(to + part * LANES, totals[part], LANES);
  store(to + (PARTS - 1) * LANES, totals[PARTS - 1], last);
}

// low[k] = sum_i x[i] * matrix[i, k], rounded to bfloat16 as the twin rounds it.
inline void shrink_row(float* low, const bf16* x, const bf16* matrix, int64_t inputs, int64_t rank) {
  for (int64_t k = 0; k < rank; k += 4 * LANES) {
    const int64_t width = std::min(4 * LANES, rank - k), parts = (width + LANES - 1) / LANES;
    const auto run = parts == 1   ? shrink_part<1>
                     : parts == 2 ? shrink_part<2>
                     : parts == 3 ? shrink_part<3>
                                  : shrink_part<4>;
    run(low + k, x, matrix + k, inputs, rank, width);
  }
  for (int64_t k = 0; k < rank; ++k) low[k] = widen(narrow(low[k]));
}

// y [T, O] += (x [T, I] @ shrink[a]) @ expand[a] at rows [R], a = slots [R]; shrink [A, I, K],
// expand [A, K, O] is zero but for as many blocks on its diagonal as there are `starts` [M + 1].
void low_rank_rows(Tensor y, Tensor x, Tensor shrink, Tensor expand, Tensor rows, Tensor slots,
                   Tensor starts) {
  const int64_t count = rows.size(0), inputs = shrink.size(1), rank = shrink.size(2);
  const int64_t outputs = expand.size(2), modules = starts.size(0) - 1, each_rank = rank / modules;
  const int64_t y_step = y.stride(0), x_step = x.stride(0);
  const int64_t *places = values_of<int64_t>(rows), *owners = values_of<int64_t>(slots);
  const int64_t* edges = values_of<int64_t>(starts);
  const bf16 *in = data(x), *down = data(shrink), *up = data(expand);
  bf16* to = mutable_data(y);
  parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> low(rank), sums(outputs);
    for (int64_t item = begin; item < end; ++item) {
      shrink_row(low.data(), in + places[item] * x_step, down + owners[item] * inputs * rank, inputs,
                 rank);
      bf16* dest = to + places[item] * y_step;
      const bf16* matrix = up + owners[item] * rank * outputs;
      each(outputs, [&](int64_t o, int64_t n) { store(sums.data() + o, load(dest + o, n), n); });
      for (int64_t k = 0; k < rank; ++k) {
        const int64_t first = edges[k / each_rank], width = edges[k / each_rank + 1] - first;
        const bf16* row = matrix + k * outputs + first;
        float* total = sums.data() + first;
        const float value = low[k];
        each(width, [&](int64_t o, int64_t n) {
          store(total + o, load(total + o, n) + value * load(row + o, n), n);
        });
      }
      each(outputs, [&](int64_t o, int64_t n) { store(dest + o, load(sums.data() + o, n), n); });
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY(descant, m) {
  m.def("rms_norm(Tensor x, Tensor weight, float eps) -> Tensor");
  m.def("add_rms_norm(Tensor x, Tensor update, Tensor weight, float eps) -> (Tensor, Tensor)");
  m.def("rms_norm_backward(Tensor grad, Tensor x, Tensor weight, float eps) -> Tensor");
  m.def("silu_mul_backward(Tensor grad, Tensor gate, Tensor up) -> Tensor");
  m.def("rotate(Tensor heads, Tensor cos, Tensor sin) -> Tensor");
  m.def("silu_mul(Tensor gate, Tensor up) -> Tensor");
  m.def("write_slots(Tensor(a!) cache, Tensor x, Tensor slots) -> ()");
  m.def("decode_attention(Tensor q, Tensor keys, Tensor values, Tensor slots, Tensor lengths) -> Tensor");
  m.def("linear_row(Tensor x, Tensor weight) -> Tensor");
#if defined(__AMX_BF16__)
  m.def("tile_linear(Tensor x, Tensor weight) -> Tensor");
#endif
  m.def("byte_row(Tensor x, Tensor weight, Tensor scale, Tensor sums, bool two) -> Tensor");
  m.def("low_rank_rows(Tensor(a!) y, Tensor x, Tensor shrink, Tensor expand, Tensor rows, "
        "Tensor slots, Tensor starts) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(descant, CPU, m) {
  m.impl("rms_norm", TORCH_BOX(&rms_norm));
  m.impl("add_rms_norm", TORCH_BOX(&add_rms_norm));
  m.impl("rms_norm_backward", TORCH_BOX(&rms_norm_backward));
  m.impl("silu_mul_backward", TORCH_BOX(&silu_mul_backward));
  m.impl("rotate", TORCH_BOX(&rotate));
  m.impl("silu_mul", TORCH_BOX(&silu_mul));
  m.impl("write_slots", TORCH_BOX(&write_slots));
  m.impl("decode_attention", TORCH_BOX(&decode_attention));
  m.impl("linear_row", TORCH_BOX(&linear_row));
#if defined(__AMX_BF16__)
  m.impl("tile_linear", TORCH_BOX(&tile_linear));
#endif
  m.impl("byte_row", TORCH_BOX(&byte_row));
  m.impl("low_rank_rows", TORCH_BOX(&low_rank_rows));
}
