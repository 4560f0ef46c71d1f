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

// Tiles 0 to 3 as rows [16, 64] of floats or whole numbers.
inline void store_side_by_side(void* sums) {
  char* place = static_cast<char*>(sums);
  _tile_stored(0, place, 256);
  _tile_stored(1, place + 64, 256);
  _tile_stored(2, place + 128, 256);
  _tile_stored(3, place + 192, 256);
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

// Calls `work(group, down, up, low)` for each of `groups` [N, 3], with the matrices of its slot and room
// for what stands between them, sixteen rows of `low_step`. What it needs first, and the next group
// after it, is far from what is read before: it is asked for.
template <class T, class Work>
void for_groups(const Tensor& groups, const Tensor& shrink, const Tensor& expand, int64_t low_step,
                void (*shape)(int64_t), Work&& work) {
  const Group* all = values_of<Group>(groups);
  constexpr int64_t FAR = AHEAD * TILE_SIZE * sizeof(bf16) / sizeof(T);
  parallel_for(0, groups.size(0), 1, [&](int64_t begin, int64_t end) {
    std::vector<bf16> low(TILE_ROWS * low_step);
    int64_t shaped = 0;
    for (const Group* group = all + begin; group < all + end; ++group) {
      const T* up = values_of<T>(expand) + group->slot * expand.stride(0);
      if (group->count != shaped) shape(shaped = group->count);
      ask_for(up, FAR);
      work(*group, values_of<T>(shrink) + group->slot * shrink.stride(0), up, low.data());
      if (group + 1 < all + end) ask_for(values_of<T>(shrink) + group[1].slot * shrink.stride(0), FAR);
    }
    _tile_release();
  });
}

// y [T, O] += (x [T, I] @ shrink[a]) @ expand[a] for each of `groups` [N, 3] of tokens, a its slot.
// shrink [A, K / 16, I / 32, 16, 16, 2]; expand [A, O / 16, R / 16, 8, 16, 2], the outputs of module m
// from starts[m] on, K = R * modules.
void low_rank_tiles(Tensor y, Tensor x, Tensor shrink, Tensor expand, Tensor groups, Tensor starts) {
  const int64_t rank_tiles = shrink.size(1), depth = shrink.size(2), low_step = rank_tiles * LANES;
  const int64_t chunks = expand.size(2), x_step = x.stride(0), y_step = y.stride(0);
  const int64_t modules = starts.size(0) - 1, *edges = values_of<int64_t>(starts);
  const auto work = [&](const Group& group, const bf16* down, const bf16* up, bf16* low) {
    for (int64_t tile = 0; tile < rank_tiles; ++tile)
      shrink_tile(low + tile * LANES, low_step, data(x) + group.row * x_step, x_step,
                  down + tile * shrink.stride(1), depth, group.count);
    for (int64_t module = 0; module < modules; ++module)
      for (int64_t o = edges[module]; o < edges[module + 1]; o += 4 * LANES)
        expand_tiles(mutable_data(y) + group.row * y_step + o, y_step,
                     low + module * chunks * TILE_RANKS, low_step, up + o / LANES * expand.stride(1),
                     chunks, std::min<int64_t>(4, (edges[module + 1] - o) / LANES), group.count);
  };
  for_groups<bf16>(groups, shrink, expand, low_step, shape_low_rank_tiles, work);
}

}  // namespace
