// Products by int8 weights on tiles: whole sums of bytes by bytes, half of what bfloat16 reads. An
// activation is one signed digit or, where it keeps its precision, two to base 256; lower digits go
// through the tiles as sixteen further rows.
#pragma once

#include "tiles.h"

namespace {

constexpr int64_t BYTE_INPUTS = 64, BYTE_TILE = TILE_ROWS * BYTE_INPUTS, PANEL_ROWS = 32;

// One digit a token: 32 tokens are a panel.
struct OneDigit {
  static constexpr int64_t TOKENS = 32;
  static constexpr float LARGEST = 127.0f;

  static void split(int8_t* to, Floats x, int64_t) {
    store_bytes(to, _mm512_cvtps_epi32((__m512)x));
  }

  static Floats join(const int32_t* sums) { return floats_of(sums); }

  static void store_bytes(int8_t* to, __m512i x) {
    const __m128i bytes = _mm512_cvtepi32_epi8(x);
    std::memcpy(to, &bytes, sizeof bytes);
  }

  static Floats floats_of(const int32_t* sums) {
    return (Floats)_mm512_cvtepi32_ps(_mm512_load_si512(sums));
  }
};

// Two digits: 16 tokens are a panel, and the lower ones its last 16 rows.
struct TwoDigits {
  static constexpr int64_t TOKENS = 16;
  static constexpr float LARGEST = 127.0f * 256.0f;

  // The lower digits go `apart` behind the upper ones.
  static void split(int8_t* to, Floats x, int64_t apart) {
    const Ints whole = (Ints)_mm512_cvtps_epi32((__m512)x), high = (whole + 128) >> 8;
    OneDigit::store_bytes(to, (__m512i)high);
    OneDigit::store_bytes(to + apart, (__m512i)(whole - (high << 8)));
  }

  static Floats join(const int32_t* sums) {
    return join(OneDigit::floats_of(sums), OneDigit::floats_of(sums + TOKENS * PANEL_ROWS));
  }

  static Floats join(Floats high, Floats low) { return 256.0f * high + low; }
};

// What one token is divided by, so that its largest magnitude becomes LARGEST; not a number where it
// has none.
template <class Digits>
inline float scale_of(const bf16* x, int64_t width) {
  Floats most = {}, rest = {};
  for (int64_t i = 0; i < width; i += LANES) {
    const Floats value = load(x + i, LANES);
    most = (Floats)_mm512_max_ps((__m512)most, _mm512_abs_ps((__m512)value));
    rest += value * 0.0f;
  }
  const float largest = _mm512_reduce_max_ps((__m512)most) / Digits::LARGEST;
  return std::max(largest, std::numeric_limits<float>::min()) + sum(rest);
}

// A row as digits; returns its scale.
template <class Digits>
inline float split_row(int8_t* to, const bf16* x, int64_t width, int64_t apart) {
  const float scale = scale_of<Digits>(x, width), share = 1.0f / scale;
  for (int64_t i = 0; i < width; i += LANES) Digits::split(to + i, load(x + i, LANES) * share, apart);
  return scale;
}

// Tokens as panels of digits, and the scale of each.
struct DigitPanels {
  Tensor digits, scales;

  const int8_t* panel(int64_t index, int64_t width) const {
    return values_of<int8_t>(digits) + index * PANEL_ROWS * width;
  }
};

template <class Digits>
DigitPanels digits_of_tokens(const Tensor& x) {
  const int64_t tokens = x.size(0), width = x.size(1), step = x.stride(0);
  const int64_t panels = (tokens + Digits::TOKENS - 1) / Digits::TOKENS;
  using torch::headeronly::ScalarType;
  DigitPanels made{torch::stable::new_empty(x, {panels, PANEL_ROWS, width}, ScalarType::Char),
                   torch::stable::new_empty(x, {tokens}, ScalarType::Float)};
  int8_t* to = reinterpret_cast<int8_t*>(made.digits.data_ptr());
  float* scales = reinterpret_cast<float*>(made.scales.data_ptr());
  parallel_for(0, tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const int64_t row = token / Digits::TOKENS * PANEL_ROWS + token % Digits::TOKENS;
      scales[token] = split_row<Digits>(to + row * width, data(x) + token * step, width,
                                        Digits::TOKENS * width);
    }
  });
  return made;
}

// A pair of tiles of outputs, over `depth` tiles of inputs.
struct BytePair {
  const int8_t *first, *second;
  int64_t depth;
};

inline BytePair byte_pair_of(const int8_t* weight, int64_t pair, int64_t depth) {
  const int8_t* first = weight + pair * 2 * depth * BYTE_TILE;
  return {first, first + depth * BYTE_TILE, depth};
}

// Tiles 0 to 3 += one step of a panel's inputs by a pair's.
inline void add_byte_step(const int8_t* panel, const BytePair& weight, int64_t k) {
  const int64_t width = weight.depth * BYTE_INPUTS;
  _tile_loadd(4, panel + k * BYTE_INPUTS, width);
  _tile_loadd(5, panel + TILE_ROWS * width + k * BYTE_INPUTS, width);
  _tile_loadd(6, weight.first + k * BYTE_TILE, 64);
  _tile_loadd(7, weight.second + k * BYTE_TILE, 64);
  _tile_dpbssd(0, 4, 6);
  _tile_dpbssd(1, 4, 7);
  _tile_dpbssd(2, 5, 6);
  _tile_dpbssd(3, 5, 7);
}

// 32 outputs of a panel, in tiles 0 to 3; what follows the weight is asked for.
inline void add_bytes_up_asking(const int8_t* panel, const BytePair& weight) {
  zero_sums();
  for (int64_t k = 0; k < weight.depth; ++k) {
    ask_for(weight.first + (k + AHEAD) * BYTE_TILE, BYTE_TILE);
    ask_for(weight.second + (k + AHEAD) * BYTE_TILE, BYTE_TILE);
    add_byte_step(panel, weight, k);
  }
}

// The same, with a weight that is at hand.
inline void add_bytes_up(const int8_t* panel, const BytePair& weight) {
  zero_sums();
  for (int64_t k = 0; k < weight.depth; ++k) add_byte_step(panel, weight, k);
}

// What the sums [32, 32] of a pair of tiles of outputs stand for, put in its place.
template <class Digits>
inline void put_bytes(bf16* to, int64_t to_step, const int32_t* sums, const float* token_scales,
                      const float* scales, int64_t count) {
  const Floats first = load(scales, LANES), second = load(scales + LANES, LANES);
  for (int64_t token = 0; token < count; ++token) {
    const int32_t* own = sums + token * PANEL_ROWS;
    store(to + token * to_step, Digits::join(own) * token_scales[token] * first, LANES);
    store(to + token * to_step + LANES, Digits::join(own + LANES) * token_scales[token] * second, LANES);
  }
}

template <class Digits>
Tensor byte_product(const Tensor& x, const Tensor& weight, const Tensor& scale) {
  const int64_t tokens = x.size(0), depth = weight.size(1), outputs = weight.size(0) * TILE_ROWS;
  const DigitPanels panels = digits_of_tokens<Digits>(x);
  const int64_t num_panels = panels.digits.size(0), width = depth * BYTE_INPUTS;
  const int64_t blocks = (num_panels * PANEL_ROWS * width - 1) / BLOCK_BYTES + 1;
  const int64_t block = (num_panels + blocks - 1) / blocks;
  Tensor out = torch::stable::new_empty(x, {tokens, outputs});
  const float *scales = values_of<float>(scale), *token_scales = values_of<float>(panels.scales);
  parallel_for(0, outputs / 32, 1, [&](int64_t begin, int64_t end) {
    alignas(64) int32_t sums[PANEL_ROWS * 32];
    shape_tiles(PANEL_ROWS);
    for (int64_t start = 0; start < num_panels; start += block)
      for (int64_t pair = begin; pair < end; ++pair)
        for (int64_t i = start; i < std::min(num_panels, start + block); ++i) {
          const auto add_up = i == start ? add_bytes_up_asking : add_bytes_up;
          add_up(panels.panel(i, width), byte_pair_of(values_of<int8_t>(weight), pair, depth));
          store_sums(sums, 32);
          const int64_t first = i * Digits::TOKENS;
          put_bytes<Digits>(mutable_data(out) + first * outputs + pair * 32, outputs, sums,
                            token_scales + first, scales + pair * 32,
                            std::min(Digits::TOKENS, tokens - first));
        }
    _tile_release();
  });
  return out;
}

// x [T, K], weight [O / 16, K / 64, 16, 16, 4] in int8 with a scale [O]: x @ (weight * scale)^T, with
// activations of one digit.
Tensor tile_bytes(Tensor x, Tensor weight, Tensor scale) {
  return byte_product<OneDigit>(x, weight, scale);
}

// The same, with activations of two digits.
Tensor tile_two_bytes(Tensor x, Tensor weight, Tensor scale) {
  return byte_product<TwoDigits>(x, weight, scale);
}

}  // namespace
