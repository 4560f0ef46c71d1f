// Low-rank updates with matrices of bytes: half of what bfloat16 reads. Tokens, and what stands between
// the two products, are two digits each.
#pragma once

#include "tile_bytes.h"
#include "tile_low_rank.h"

namespace {

// Tiles 0 to 3 are sums, 4 tokens by inputs, 5 tokens by ranks, 6 the first weight, 7 the second.
inline void shape_low_rank_bytes(int64_t tokens) {
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) {
    shapes.row_bytes[tile] = tile == 5 ? TILE_RANKS : 64;
    shapes.rows[tile] = static_cast<uint8_t>(tile == 6 ? 16 : tile == 7 ? TILE_RANKS / 4 : tokens);
  }
  use_shapes(shapes);
}

// Up to sixteen rows of two digits [16, 2, width], and the scale of each.
struct DigitRows {
  std::vector<int8_t> digits;
  std::array<float, TILE_ROWS> scales;
  int64_t width;

  DigitRows(const bf16* x, int64_t step, int64_t width, int64_t count)
      : digits(2 * TILE_ROWS * width), width(width) {
    for (int64_t row = 0; row < count; ++row)
      scales[row] = split_row<TwoDigits>(digits.data() + row * 2 * width, x + row * step, width, width);
  }
};

// Sixteen ranks of the tokens: low = x @ weight^T * scales, rounded. Two sums a digit hide the latency.
inline void shrink_bytes(bf16* low, int64_t low_step, const DigitRows& x,
                         const int8_t* weight, const float* scales, int64_t depth, int64_t count) {
  alignas(64) int32_t sums[4 * TILE_ROWS * LANES];
  const int8_t *high_row = x.digits.data(), *low_row = high_row + x.width;
  zero_sums();
  for (int64_t k = 0; k < depth; ++k) {
    ask_for(weight + (k + AHEAD) * BYTE_TILE, BYTE_TILE);
    _tile_loadd(6, weight + k * BYTE_TILE, 64);
    _tile_loadd(4, high_row + k * BYTE_INPUTS, 2 * x.width);
    if (k % 2) _tile_dpbssd(1, 4, 6);
    else _tile_dpbssd(0, 4, 6);
    _tile_loadd(4, low_row + k * BYTE_INPUTS, 2 * x.width);
    if (k % 2) _tile_dpbssd(3, 4, 6);
    else _tile_dpbssd(2, 4, 6);
  }
  store_side_by_side(sums);
  for (int64_t token = 0; token < count; ++token) {
    const int32_t* row = sums + token * 4 * LANES;
    const auto part = [row](int64_t tile) { return OneDigit::floats_of(row + tile * LANES); };
    const Floats total = TwoDigits::join(part(0) + part(1), part(2) + part(3));
    store(low + token * low_step, total * x.scales[token] * load(scales, LANES), LANES);
  }
}

// Up to two times sixteen outputs of the tokens: y += low @ weight^T, over `depth` tiles of ranks.
inline void expand_bytes(bf16* y, int64_t y_step, const DigitRows& low, int64_t rank,
                         const int8_t* weight, int64_t depth, int64_t tiles, int64_t count) {
  constexpr int64_t SIZE = TILE_ROWS * TILE_RANKS;
  alignas(64) int32_t sums[4 * TILE_ROWS * LANES];
  const int64_t step = depth * SIZE;
  zero_sums();
  for (int64_t k = 0; k < depth; ++k) {
    const int8_t *tile = weight + k * SIZE, *digits = low.digits.data() + rank + k * TILE_RANKS;
    ask_for(tile + 2 * AHEAD * step, tiles * SIZE);
    _tile_loadd(5, digits, 2 * low.width);
    _tile_loadd(7, tile, 64);
    _tile_dpbssd(0, 5, 7);
    if (tiles > 1) {
      _tile_loadd(7, tile + step, 64);
      _tile_dpbssd(1, 5, 7);
    }
    _tile_loadd(5, digits + low.width, 2 * low.width);
    if (tiles > 1) _tile_dpbssd(3, 5, 7);
    _tile_loadd(7, tile, 64);
    _tile_dpbssd(2, 5, 7);
  }
  store_side_by_side(sums);
  for (int64_t token = 0; token < count; ++token)
    for (int64_t tile = 0; tile < tiles; ++tile) {
      bf16* to = y + token * y_step + tile * LANES;
      const int32_t* high = sums + (token * 4 + tile) * LANES;
      const Floats update =
          TwoDigits::join(OneDigit::floats_of(high), OneDigit::floats_of(high + 2 * LANES));
      store(to, load(to, LANES) + update * low.scales[token], LANES);
    }
}

// From so many tokens of a group on, tiles are quicker than a token at a time.
constexpr int64_t MANY_TOKENS = 5;

// The same for one token: sixteen outputs by four ranks in one vector product. Bytes by bytes want one
// side unsigned: 128 is added to the digits, and 128 times the weights taken off.
inline void expand_row(bf16* y, const int8_t* digits, int64_t apart, float scale, const int8_t* weight,
                       int64_t ranks, int64_t tiles) {
  const auto together = [](const int8_t* from) {
    int32_t four;
    std::memcpy(&four, from, sizeof four);
    return _mm512_xor_si512(_mm512_set1_epi32(four), _mm512_set1_epi8(-128));
  };
  for (int64_t tile = 0; tile < tiles; ++tile, weight += ranks * LANES) {
    __m512i high = {}, low = {}, offset = {};
    ask_for(weight + AHEAD * TILE_ROWS * TILE_RANKS, ranks * LANES);
    for (int64_t rank = 0; rank < ranks; rank += 4) {
      const __m512i four = _mm512_loadu_si512(weight + rank * LANES);
      high = _mm512_dpbusd_epi32(high, together(digits + rank), four);
      low = _mm512_dpbusd_epi32(low, together(digits + apart + rank), four);
      offset = _mm512_dpbusd_epi32(offset, _mm512_set1_epi8(-128), four);
    }
    const Floats update = TwoDigits::join((Floats)_mm512_cvtepi32_ps(_mm512_sub_epi32(high, offset)),
                                          (Floats)_mm512_cvtepi32_ps(_mm512_sub_epi32(low, offset)));
    bf16* to = y + tile * LANES;
    store(to, load(to, LANES) + update * scale, LANES);
  }
}

// One module's outputs, `tiles` times sixteen, of a group's tokens.
inline void expand_module(bf16* y, int64_t y_step, const DigitRows& low, int64_t rank,
                          const int8_t* weight, int64_t depth, int64_t tiles, int64_t count) {
  const int64_t ranks = depth * TILE_RANKS;
  if (count < MANY_TOKENS)
    for (int64_t token = 0; token < count; ++token)
      expand_row(y + token * y_step, low.digits.data() + token * 2 * low.width + rank, low.width,
                 low.scales[token], weight, ranks, tiles);
  else
    for (int64_t tile = 0; tile < tiles; tile += 2)
      expand_bytes(y + tile * LANES, y_step, low, rank, weight + tile * ranks * LANES, depth,
                   std::min<int64_t>(2, tiles - tile), count);
}

// y [T, O] += (x [T, I] @ shrink[a] * scale[a]) @ expand[a] for each of `groups` [N, 3] of tokens, a its
// slot. shrink [A, K / 16, I / 64, 16, 16, 4]; expand [A, O / 16, R / 16, 4, 16, 4]; scale [A, K].
void low_rank_bytes(Tensor y, Tensor x, Tensor shrink, Tensor expand, Tensor scale, Tensor groups,
                    Tensor starts) {
  const int64_t rank_tiles = shrink.size(1), depth = shrink.size(2), ranks = rank_tiles * LANES;
  const int64_t chunks = expand.size(2), y_step = y.stride(0);
  const int64_t modules = starts.size(0) - 1, *edges = values_of<int64_t>(starts);
  const auto work = [&](const Group& group, const int8_t* down, const int8_t* up, bf16* low) {
    const DigitRows own(data(x) + group.row * x.stride(0), x.stride(0), x.size(1), group.count);
    for (int64_t tile = 0; tile < rank_tiles; ++tile)
      shrink_bytes(low + tile * LANES, ranks, own, down + tile * shrink.stride(1),
                   values_of<float>(scale) + group.slot * ranks + tile * LANES, depth, group.count);
    const DigitRows between(low, ranks, ranks, group.count);
    for (int64_t module = 0; module < modules; ++module)
      expand_module(mutable_data(y) + group.row * y_step + edges[module], y_step, between,
                    module * chunks * TILE_RANKS, up + edges[module] / LANES * expand.stride(1), chunks,
                    (edges[module + 1] - edges[module]) / LANES, group.count);
  };
  for_groups<int8_t>(groups, shrink, expand, ranks, shape_low_rank_bytes, work);
}

}  // namespace
