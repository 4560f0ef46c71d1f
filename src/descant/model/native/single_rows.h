// What one token of a sequence needs: attention over its cached keys, and products with one row.
#pragma once

#include "tensor.h"

namespace {

// cache [G, S, D], x [T, G, D], slots [T]: cache[:, slots] = x.
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

// Scores of `count` keys become weights that sum to 1, and 0 up to the next multiple of sixteen.
inline void softmax(bf16* weights, float* scores, int64_t count) {
  const float most = *std::max_element(scores, scores + count);
  Floats total = {};
  each(count, [&](int64_t c, int64_t n) {
    store(scores + c, exponential(load(scores + c, n) - most), n);
    total += load(scores + c, n);
  });
  const float share = 1.0f / sum(total);
  each(count, [&](int64_t c, int64_t n) { store(weights + c, load(scores + c, n) * share, LANES); });
}

using Row = uint16_t __attribute__((vector_size(64)));

// to[i] = sum_c weights[c] * values[places[c], i] for 64 dimensions and some heads: pairs of keys are
// brought together once for all heads.
template <int HEADS>
inline void weigh(bf16* to, int64_t to_step, const bf16* weights, int64_t weights_step,
                  const bf16* values, const int64_t* places, int64_t count, int64_t dim) {
  Floats sums[HEADS][4] = {};
  for (int64_t c = 0; c < count; c += 2) {
    Bits pairs[4];
    for (int half = 0; half < 2; ++half) {
      Row first, second;
      std::memcpy(&first, values + places[c] * dim + half * 32, sizeof first);
      // Behind an odd number of keys the weight is 0.
      std::memcpy(&second, values + places[std::min(c + 1, count - 1)] * dim + half * 32, sizeof second);
      pairs[2 * half] = (Bits)__builtin_shufflevector(
          first, second, 0, 32, 1, 33, 2, 34, 3, 35, 8, 40, 9, 41, 10, 42, 11, 43, 16, 48, 17, 49, 18, 50, 19, 51,
          24, 56, 25, 57, 26, 58, 27, 59);
      pairs[2 * half + 1] = (Bits)__builtin_shufflevector(
          first, second, 4, 36, 5, 37, 6, 38, 7, 39, 12, 44, 13, 45, 14, 46, 15, 47, 20, 52, 21, 53, 22, 54, 23,
          55, 28, 60, 29, 61, 30, 62, 31, 63);
    }
    for (int head = 0; head < HEADS; ++head) {
      uint32_t two;
      std::memcpy(&two, weights + head * weights_step + c, sizeof two);
      for (int part = 0; part < 4; ++part)
        sums[head][part] = add_pairs(sums[head][part], pairs[part], Bits{} + two);
    }
  }
  for (int head = 0; head < HEADS; ++head)
    for (int half = 0; half < 2; ++half) {
      const Floats low = sums[head][2 * half], high = sums[head][2 * half + 1];
      bf16* place = to + head * to_step + half * 32;
      store(place, __builtin_shufflevector(low, high, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23), LANES);
      store(place + LANES, __builtin_shufflevector(low, high, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31), LANES);
    }
}

// The same for any number of dimensions of one head.
inline void weigh_plainly(bf16* to, const bf16* weights, const bf16* values, const int64_t* places,
                          int64_t count, int64_t dim) {
  each(dim, [&](int64_t i, int64_t n) {
    Floats sums = {};
    for (int64_t c = 0; c < count; ++c) sums += widen(weights[c]) * load(values + places[c] * dim + i, n);
    store(to + i, sums, n);
  });
}

// One query over the cached keys of its sequence, for the heads that share a key head.
struct Query {
  const bf16 *q, *keys, *values;
  const int64_t* places;
  int64_t count, share, head_step, dim;
  float scale;
  bf16* out;
};

// What a core needs for one query.
struct Scratch {
  std::vector<float> scores;
  std::vector<bf16> weights;
};

inline void weigh_heads(const Query& one, const bf16* weights, int64_t step) {
  for (int64_t head = 0; head < one.share; head += 4) {
    const int64_t heads = std::min<int64_t>(4, one.share - head);
    const auto run = heads == 1 ? weigh<1> : heads == 2 ? weigh<2> : heads == 3 ? weigh<3> : weigh<4>;
    for (int64_t i = 0; i < one.dim; i += 64)
      run(one.out + head * one.dim + i, one.dim, weights + head * step, step, one.values + i,
          one.places, one.count, one.dim);
  }
}

// With the head size known beforehand, sums stay in registers.
template <int64_t DIM>
void attend(const Query& one, Scratch& scratch) {
  const int64_t dim = DIM ? DIM : one.dim, count = one.count;
  const int64_t step = (count + LANES - 1) / LANES * LANES;
  scratch.scores.resize(one.share * step);
  scratch.weights.resize(one.share * step);
  each(count, [&](int64_t c, int64_t n) {
    // Blocks lie anywhere: what comes next is asked for, keys now and values for afterwards.
    for (int64_t i = c; i < c + n; ++i) {
      ask_for(one.values + one.places[i] * dim, dim);
      ask_for(one.keys + one.places[std::min(i + 2 * LANES, count - 1)] * dim, dim);
    }
    for (int64_t h = 0; h < one.share; ++h)
      score(scratch.scores.data() + h * step + c, one.q + h * one.head_step, one.keys, one.places + c, n,
            dim, one.scale);
  });
  for (int64_t h = 0; h < one.share; ++h)
    softmax(scratch.weights.data() + h * step, scratch.scores.data() + h * step, count);
  if (dim % 64 == 0) {
    weigh_heads(one, scratch.weights.data(), step);
    return;
  }
  for (int64_t h = 0; h < one.share; ++h)
    weigh_plainly(one.out + h * dim, scratch.weights.data() + h * step, one.values, one.places, count, dim);
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
    Scratch scratch;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row = item / groups, group = item % groups, head = group * share;
      run({data(q) + row * q.stride(0) + head * q.stride(1), data(keys) + group * keys.stride(0),
           data(values) + group * values.stride(0), places + row * width, counts[row], share,
           q.stride(1), dim, scale, mutable_data(out) + (row * heads + head) * dim},
          scratch);
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

// x [1, K], weight [O, K] in int8 with a scale [O] and the sum [O] of each row: x @ (weight * scale)^T,
// activations rounded to one digit or to two.
Tensor byte_row(Tensor x, Tensor weight, Tensor scale, Tensor sums, bool two) {
  const int64_t outputs = weight.size(0), width = weight.size(1);
  Tensor out = torch::stable::new_empty(x, {1, outputs});
  const Digits digits = digits_of(data(x), width, two);
  const int8_t* w = values_of<int8_t>(weight);
  const float* scales = values_of<float>(scale);
  const int32_t* totals = values_of<int32_t>(sums);
  bf16* to = mutable_data(out);
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
