// Attention of many queries over many keys, on tiles, with the log-sum-exp out: scores of 32 queries by
// 128 keys at a time, weighed and added up as they come (FlashAttention-2, arXiv 2307.08691).
#pragma once

#include "tiles.h"

namespace {

constexpr int64_t QUERY_ROWS = 32, KEY_BLOCK = 128, MAX_HEAD = 128;
// What the weights of a query may add up to before they are scaled anew: floats reach twice as far.
constexpr float MOST = 0x1p60f;

// Keys of one head cut as a weight [keys, D], values as one of [D, keys].
struct TiledHead {
  const bf16 *keys, *values;
};

// Cuts up to 32 rows of x into tiles of a weight [rows, D]; those behind the last are zeros.
inline void tile_rows(bf16* tiles, const bf16* x, int64_t step, int64_t count, int64_t dim) {
  for (int64_t row = 0; row < 32; ++row)
    for (int64_t d = 0; d < dim; d += 32) {
      bf16* column = tiles + (row / 16 * (dim / 32) + d / 32) * TILE_SIZE + row % 16 * 2;
      std::array<uint32_t, 16> pairs = {};
      if (row < count) std::memcpy(pairs.data(), x + row * step + d, sizeof pairs);
      for (int64_t pair = 0; pair < 16; ++pair) std::memcpy(column + pair * 32, &pairs[pair], 4);
    }
}

// Cuts up to 32 rows of x into tiles of a weight [D, rows], `tile_step` apart for every 16 of D; rows r
// and r + 16 become neighbours.
inline void tile_columns(bf16* tiles, int64_t tile_step, const bf16* x, int64_t step, int64_t count,
                         int64_t dim) {
  for (int64_t d = 0; d < dim; d += LANES)
    for (int64_t row = 0; row < LANES; ++row) {
      Halves first = {}, second = {};
      if (row < count) std::memcpy(&first, x + row * step + d, sizeof first);
      if (row + LANES < count) std::memcpy(&second, x + (row + LANES) * step + d, sizeof second);
      const auto both = __builtin_shufflevector(first, second, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21,
                                                6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                                29, 14, 30, 15, 31);
      std::memcpy(tiles + d / LANES * tile_step + row * 32, &both, sizeof both);
    }
}

// What one block of queries keeps while it goes through the keys.
struct alignas(64) QueryBlock {
  float scores[QUERY_ROWS * KEY_BLOCK], sums[QUERY_ROWS * MAX_HEAD];
  bf16 q[QUERY_ROWS * MAX_HEAD], weights[QUERY_ROWS * KEY_BLOCK];
  Floats total[QUERY_ROWS];
  // The score whose weight is 1, as a power of two.
  float reference[QUERY_ROWS];
};

// Weights lose their last sixteen bits. What that takes off on average, they have more before.
constexpr float CUT = 1.0028f;

// Element i of both next to each other, cut to bfloat16.
inline void store_neighbours(bf16* to, Floats first, Floats second) {
  const Bits both = ((Bits)second & 0xffff0000u) | ((Bits)first >> 16);
  std::memcpy(to, &both, sizeof both);
}

// scores [32, width] = q @ keys^T
inline void score_tiles(float* scores, const bf16* q, const bf16* keys, int64_t width, int64_t dim) {
  const int64_t depth = dim / 32;
  for (int64_t key = 0; key < width; key += 32) {
    zero_sums();
    for (int64_t d = 0; d < depth; ++d) {
      const bf16* tile = keys + (key / 16 * depth + d) * TILE_SIZE;
      add_products(q + d * 32, dim, tile, tile + depth * TILE_SIZE, true);
    }
    store_sums(scores + key, KEY_BLOCK);
  }
}

// Weighs a row of scores by the query's reference; returns the sum of the weights, lane by lane. Keys c
// and c + 16 become neighbours.
inline Floats weigh_row(QueryBlock& block, int64_t row, int64_t width, float scale) {
  const float *scores = block.scores + row * KEY_BLOCK, reference = block.reference[row];
  bf16* weights = block.weights + row * KEY_BLOCK;
  Floats total = {};
  for (int64_t c = 0; c < width; c += 2 * LANES) {
    const Floats first = power_of_two<CUT>(load(scores + c, LANES) * scale - reference);
    const Floats second = power_of_two<CUT>(load(scores + c + LANES, LANES) * scale - reference);
    store_neighbours(weights + c, first, second);
    total += first + second;
  }
  return total;
}

inline float largest_score(const QueryBlock& block, int64_t row, int64_t width) {
  const float* scores = block.scores + row * KEY_BLOCK;
  Floats most = load(scores, LANES);
  for (int64_t c = LANES; c < width; c += LANES)
    most = (Floats)_mm512_max_ps((__m512)most, (__m512)load(scores + c, LANES));
  return _mm512_reduce_max_ps((__m512)most);
}

// Makes the largest score of a row its reference, which earlier weights follow.
[[gnu::noinline]] void move_reference(QueryBlock& block, int64_t row, int64_t width, float scale,
                                      int64_t dim) {
  const float reference = largest_score(block, row, width) * scale;
  const float share = std::exp2(block.reference[row] - reference);
  block.reference[row] = reference;
  block.total[row] *= share;
  float* sums = block.sums + row * dim;
  for (int64_t d = 0; d < dim; d += LANES) store(sums + d, load(sums + d, LANES) * share, LANES);
}

// Scores become weights. A query's reference is its largest score among the first keys, and moves only
// where weights by it get too large: no maximum is looked for, and sums are seldom scaled anew.
inline void weigh_rows(QueryBlock& block, int64_t width, float scale, int64_t dim) {
  for (int64_t row = 0; row < QUERY_ROWS; ++row) {
    Floats total = weigh_row(block, row, width, scale);
    if (_mm512_cmp_ps_mask((__m512)total, (__m512)(Floats{} + MOST), _CMP_NLT_UQ)) {
      move_reference(block, row, width, scale, dim);
      total = weigh_row(block, row, width, scale);
    }
    block.total[row] += total;
  }
}

// sums [32, D] += weights @ values
inline void add_values(float* sums, const bf16* weights, const bf16* values, int64_t values_step,
                       int64_t width, int64_t dim) {
  for (int64_t d = 0; d < dim; d += 32) {
    load_sums(sums + d, dim);
    for (int64_t key = 0; key < width; key += 32) {
      const bf16* tile = values + d / 16 * values_step + key / 32 * TILE_SIZE;
      add_products(weights + key, KEY_BLOCK, tile, tile + values_step, true);
    }
    store_sums(sums + d, dim);
  }
}

// Up to 32 queries from `first` on over the keys they see: all, or with `causal` those up to their own.
struct QueryTask {
  const bf16* q;
  int64_t q_step, first, count, num_keys, dim;
  bool causal;
  TiledHead head;
  int64_t values_step;
  bf16* out;
  float* lse;
};

void run_query_block(const QueryTask& task, QueryBlock& block) {
  const int64_t dim = task.dim;
  for (int64_t row = 0; row < QUERY_ROWS; ++row) {
    if (row < task.count) std::memcpy(block.q + row * dim, task.q + row * task.q_step, dim * 2);
    else std::memset(block.q + row * dim, 0, dim * 2);
    block.total[row] = Floats{};
  }
  std::memset(block.sums, 0, QUERY_ROWS * dim * sizeof(float));
  const float scale = 1.44269504f / std::sqrt(static_cast<float>(dim));
  const int64_t last = task.causal ? std::min(task.num_keys, task.first + task.count) : task.num_keys;
  for (int64_t key = 0; key < last; key += KEY_BLOCK) {
    const int64_t width = std::min(KEY_BLOCK, (last - key + 31) / 32 * 32);
    score_tiles(block.scores, block.q, task.head.keys + key / 16 * (dim / 32) * TILE_SIZE, width, dim);
    for (int64_t row = 0; row < QUERY_ROWS; ++row) {
      const int64_t seen = task.causal ? std::min(last, task.first + row + 1) : last;
      float* scores = block.scores + row * KEY_BLOCK;
      for (int64_t c = std::max<int64_t>(seen - key, 0); c < width; ++c) scores[c] = -1e30f;
      if (key == 0) block.reference[row] = largest_score(block, row, width) * scale;
    }
    weigh_rows(block, width, scale, dim);
    add_values(block.sums, block.weights, task.head.values + key / 32 * TILE_SIZE, task.values_step,
               width, dim);
  }
  for (int64_t row = 0; row < task.count; ++row) {
    const float total = _mm512_reduce_add_ps((__m512)block.total[row]) / CUT, share = 1.0f / total;
    for (int64_t d = 0; d < dim; d += LANES)
      store(task.out + row * dim + d, load(block.sums + row * dim + d, LANES) * share, LANES);
    task.lse[row] = block.reference[row] * 0.693147181f + std::log(total);
  }
}

// q [N, H, M, D], k and v [N, G, C, D]: the attention output [N, H, M, D] and its log-sum-exp [N, H, M].
std::tuple<Tensor, Tensor> tile_attention(Tensor q, Tensor k, Tensor v, bool causal) {
  const int64_t batch = q.size(0), heads = q.size(1), rows = q.size(2), dim = q.size(3);
  const int64_t groups = k.size(1), keys = k.size(2), blocks = (keys + 31) / 32;
  Tensor out = torch::stable::new_empty(q, {batch, heads, rows, dim});
  Tensor lse = torch::stable::new_empty(q, {batch, heads, rows}, torch::headeronly::ScalarType::Float);
  const int64_t head_size = blocks * 32 * dim, values_step = blocks * TILE_SIZE;
  Tensor tiles = torch::stable::new_empty(q, {2, batch * groups, head_size});
  bf16 *key_tiles = mutable_data(tiles), *value_tiles = key_tiles + batch * groups * head_size;
  parallel_for(0, batch * groups * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / blocks, block = item % blocks, n = head / groups, g = head % groups;
      const int64_t count = std::min<int64_t>(32, keys - block * 32);
      tile_rows(key_tiles + head * head_size + block * 32 * dim, rows_of(k, n, g, block * 32),
                k.stride(2), count, dim);
      tile_columns(value_tiles + head * head_size + block * TILE_SIZE, values_step,
                   rows_of(v, n, g, block * 32), v.stride(2), count, dim);
    }
  });
  const int64_t parts = (rows + QUERY_ROWS - 1) / QUERY_ROWS;
  parallel_for(0, batch * heads * parts, 1, [&](int64_t begin, int64_t end) {
    const auto block = std::make_unique<QueryBlock>();
    shape_tiles(32);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / parts, turn = item % parts, n = head / heads;
      // Later queries see more: long and short ones by turns, so that cores end together.
      const int64_t part = turn % 2 ? parts - 1 - turn / 2 : turn / 2, first = part * QUERY_ROWS;
      const int64_t own = n * groups + head % heads / (heads / groups);
      run_query_block({rows_of(q, n, head % heads, first), q.stride(2), first, std::min(QUERY_ROWS, rows - first), keys, dim, causal,
                       {key_tiles + own * head_size, value_tiles + own * head_size}, values_step,
                       mutable_data(out) + (head * rows + first) * dim,
                       reinterpret_cast<float*>(lse.data_ptr()) + head * rows + first},
                      *block);
    }
    _tile_release();
  });
  return {out, lse};
}

}  // namespace
