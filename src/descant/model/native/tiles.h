// The processor's tiles (AMX): eight of up to sixteen rows of 64 bytes. 0 to 3 hold sums.
#pragma once

#include "tensor.h"

namespace {

constexpr int64_t TILE_ROWS = 16, TILE_INPUTS = 32, TILE_SIZE = TILE_ROWS * TILE_INPUTS;

struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

inline void use_shapes(const TileShapes& shapes) {
  // GCC 12 takes the instruction to read 8 of the 64 bytes, and may leave the others unwritten.
  asm volatile("" : : "m"(shapes));
  _tile_loadconfig(&shapes);
}

// Tiles 0 to 3 are sums, 4 and 5 two times up to 16 tokens, 6 and 7 two times 16 outputs.
inline void shape_tiles(int64_t tokens) {
  TileShapes shapes;
  const int64_t first = std::min(tokens, TILE_ROWS), second = std::max<int64_t>(tokens - TILE_ROWS, 1);
  for (int tile = 0; tile < 8; ++tile) {
    const bool is_weight = tile >= 6, is_second = tile == 2 || tile == 3 || tile == 5;
    shapes.row_bytes[tile] = 64;
    shapes.rows[tile] = static_cast<uint8_t>(is_weight ? TILE_ROWS : is_second ? second : first);
  }
  use_shapes(shapes);
}

// How far ahead of its use a tile of the weight is asked for.
constexpr int64_t AHEAD = 16;

// What a core keeps of the tokens while it goes through the weights.
constexpr int64_t BLOCK_BYTES = 1 << 19;

inline void zero_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

// Tiles 0 to 3 += two times up to sixteen rows of x, `step` apart, by two tiles of a weight; the second
// rows only where there are any.
[[gnu::always_inline]] inline void add_products(const bf16* x, int64_t step, const bf16* first,
                                                const bf16* second, bool has_second) {
  _tile_loadd(4, x, step * 2);
  _tile_loadd(6, first, 64);
  _tile_loadd(7, second, 64);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  if (has_second) {
    _tile_loadd(5, x + TILE_ROWS * step, step * 2);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

// Tiles 0 to 3 from and to rows [32, 32] of floats or whole numbers that lie `step` apart.
inline void load_sums(const float* from, int64_t step) {
  _tile_loadd(0, from, step * 4);
  _tile_loadd(1, from + TILE_ROWS, step * 4);
  _tile_loadd(2, from + TILE_ROWS * step, step * 4);
  _tile_loadd(3, from + TILE_ROWS * step + TILE_ROWS, step * 4);
}

inline void store_sums(void* to, int64_t step) {
  char* place = static_cast<char*>(to);
  _tile_stored(0, place, step * 4);
  _tile_stored(1, place + 64, step * 4);
  _tile_stored(2, place + TILE_ROWS * step * 4, step * 4);
  _tile_stored(3, place + TILE_ROWS * step * 4 + 64, step * 4);
}

}  // namespace
