// Low-rank updates on AMX tiles: every group of tokens by the matrices of its slot, where they lie.
#pragma once

#include "tiles.h"

namespace {

// A grouped product: `count` (up to 16) neighbouring tokens of one slot, and where they are.
struct Group {
  int64_t slot, row, count;
};

// Ranks that one tile of the second product takes.
constexpr int64_t TILE_RANKS = 16;

// Tiles 0 to 3 are sums, 4 tokens by inputs, 5 tokens by ranks, 6 the first weight, 7 the second.
inline void shape_low_rank_tiles(int64_t tokens) {
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) {
    shapes.row_bytes[tile] = tile == 5 ? 2 * TILE_RANKS : 64;
    shapes.rows[tile] = static_cast<uint8_t>(tile == 6 ? 16 : tile == 7 ? TILE_RANKS / 2 : tokens);
  }
  use_shapes(shapes);
}


// Tiles 0 to 3 as rows [16, 64].
inline void store_side_by_side(float* sums) {
  _tile_stored(0, sums, 256);
  _tile_stored(1, sums + LANES, 256);
  _tile_stored(2, sums + 2 * LANES, 256);
  _tile_stored(3, sums + 3 * LANES, 256);
}

// Sixteen ranks of the tokens: low = x @ weight^T, rounded. Four sums side by side hide the latency.
inline void shrink_tile(bf16* low, int64_t low_step, const bf16* x, int64_t x_step, const bf16* weight,
                        int64_t depth, int64_t count) {
  alignas(64) float sums[4 * TILE_ROWS * LANES];
  zero_sums();
  for (int64_t k = 0; k < depth; ++k) {
    ask_for(weight + (k + AHEAD) * TILE_SIZE, TILE_SIZE);
    _tile_loadd(4, x + k * TILE_INPUTS, x_step * 2);
    _tile_loadd(6, weight + k * TILE_SIZE, 64);
    switch (k % 4) {
      case 0: _tile_dpbf16ps(0, 4, 6); break;
      case 1: _tile_dpbf16ps(1, 4, 6); break;
      case 2: _tile_dpbf16ps(2, 4, 6); break;
      default: _tile_dpbf16ps(3, 4, 6);
    }
  }
  store_side_by_side(sums);
  for (int64_t token = 0; token < count; ++token) {
    const float* row = sums + token * 4 * LANES;
    const Floats total = (load(row, LANES) + load(row + LANES, LANES)) +
                         (load(row + 2 * LANES, LANES) + load(row + 3 * LANES, LANES));
    store(low + token * low_step, total, LANES);
  }
}

// Up to four times sixteen outputs of the tokens: y += low @ weight^T, over `depth` tiles of ranks.
inline void expand_tiles(bf16* y, int64_t y_step, const bf16* low, int64_t low_step, const bf16* weight,
                         int64_t depth, int64_t tiles, int64_t count) {
  constexpr int64_t SIZE = TILE_ROWS * TILE_RANKS;
  alignas(64) float sums[4 * TILE_ROWS * LANES];
  const int64_t step = depth * SIZE;
  zero_sums();
  for (int64_t k = 0; k < depth; ++k) {
    const bf16* tile = weight + k * SIZE;
    ask_for(tile + AHEAD * step, tiles * SIZE);
    _tile_loadd(5, low + k * TILE_RANKS, low_step * 2);
    _tile_loadd(7, tile, 64);
    _tile_dpbf16ps(0, 5, 7);
    if (tiles > 1) {
      _tile_loadd(7, tile + step, 64);
      _tile_dpbf16ps(1, 5, 7);
    }
    if (tiles > 2) {
      _tile_loadd(7, tile + 2 * step, 64);
      _tile_dpbf16ps(2, 5, 7);
    }
    if (tiles > 3) {
      _tile_loadd(7, tile + 3 * step, 64);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  store_side_by_side(sums);
  for (int64_t token = 0; token < count; ++token)
    for (int64_t tile = 0; tile < tiles; ++tile) {
      bf16* to = y + token * y_step + tile * LANES;
      store(to, load(to, LANES) + load(sums + (token * 4 + tile) * LANES, LANES), LANES);
    }
}

// y [T, O] += (x [T, I] @ shrink[a]) @ expand[a] for each of `groups` [N, 3] of tokens, a its slot.
// shrink [A, K / 16, I / 32, 16, 16, 2]; expand [A, O / 16, R / 16, 8, 16, 2], the outputs of module m
// from starts[m] on, K = R * modules.
void low_rank_tiles(Tensor y, Tensor x, Tensor shrink, Tensor expand, Tensor groups, Tensor starts) {
  const int64_t rank_tiles = shrink.size(1), depth = shrink.size(2), low_step = rank_tiles * LANES;
  const int64_t chunks = expand.size(2), x_step = x.stride(0), y_step = y.stride(0);
  const int64_t modules = starts.size(0) - 1, *edges = values_of<int64_t>(starts);
  const Group* all = values_of<Group>(groups);
  parallel_for(0, groups.size(0), 1, [&](int64_t begin, int64_t end) {
    std::vector<bf16> low(TILE_ROWS * low_step);
    int64_t shaped = 0;
    for (const Group* group = all + begin; group < all + end; ++group) {
      const bf16* down = data(shrink) + group->slot * shrink.stride(0);
      const bf16* up = data(expand) + group->slot * expand.stride(0);
      if (group->count != shaped) shape_low_rank_tiles(shaped = group->count);
      // What this group needs second, and the next one first, is far from what is read before it.
      ask_for(up, AHEAD * TILE_SIZE);
      for (int64_t tile = 0; tile < rank_tiles; ++tile)
        shrink_tile(low.data() + tile * LANES, low_step, data(x) + group->row * x_step, x_step,
                    down + tile * shrink.stride(1), depth, group->count);
      if (group + 1 < all + end)
        ask_for(data(shrink) + group[1].slot * shrink.stride(0), AHEAD * TILE_SIZE);
      for (int64_t module = 0; module < modules; ++module)
        for (int64_t o = edges[module]; o < edges[module + 1]; o += 4 * LANES)
          expand_tiles(mutable_data(y) + group->row * y_step + o, y_step,
                       low.data() + module * chunks * TILE_RANKS, low_step,
                       up + o / LANES * expand.stride(1), chunks,
                       std::min<int64_t>(4, (edges[module + 1] - o) / LANES), group->count);
    }
    _tile_release();
  });
}

}  // namespace
