// What one token of a sequence needs: attention over its cached keys, and products with one row.
#pragma once

#include "tensor.h"

namespace {

// keys, values [G, S, D], k, v [T, G, D], slots [T]: keys[:, slots] = k, values[:, slots] = v.
void write_slots(Tensor cache, Tensor x, Tensor slots) {
  const int64_t rows = x.size(0), groups = x.size(1), dim = x.size(2);
  const int64_t plane = cache.stride(0), row_step = x.stride(0), head_step = x.stride(1);
  const bf16* from = data(x);
  const int64_t* places = values_of<int64_t>(slots);
  bf16* to = mutable_data(cache);
  parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t group = 0; group < groups; ++group)
        std::memcpy(to + group * plane + places[row] * dim,
                    from + row * row_step + group * head_step, dim * sizeof(bf16));
  });
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

}  // namespace
