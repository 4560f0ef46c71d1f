// Attention of many queries over many keys, on tiles, with the log-sum-exp out: scores of 32 queries by
// 128 keys at a time, weighed and added up as they come (FlashAttention-2, arXiv 2307.08691).
#pragma once

#include "tiles.h"

namespace {

constexpr int64_t QUERY_ROWS = 32, KEY_BLOCK = 128, MAX_HEAD = 128;

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

// Cuts up to 32 rows of x into tiles of a weight [D, rows], `tile_step` apart for every 16 of D.
inline void tile_columns(bf16* tiles, int64_t tile_step, const bf16* x, int64_t step, int64_t count,
                         int64_t dim) {
  for (int64_t d = 0; d < dim; d += LANES)
    for (int64_t row = 0; row < 32; row += 2) {
      Halves first = {}, second = {};
      if (row < count) std::memcpy(&first, x + row * step + d, sizeof first);
      if (row + 1 < count) std::memcpy(&second, x + (row + 1) * step + d, sizeof second);
      const auto both = __builtin_shufflevector(first, second, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21,
                                                6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                                29, 14, 30, 15, 31);
      std::memcpy(tiles + d / LANES * tile_step + row / 2 * 32, &both, sizeof both);
    }
}

// What one block of queries keeps while it goes through the keys.
struct alignas(64) QueryBlock {
  float scores[QUERY_ROWS * KEY_BLOCK], sums[QUERY_ROWS * MAX_HEAD];
  bf16 q[QUERY_ROWS * MAX_HEAD], weights[QUERY_ROWS * KEY_BLOCK];
  Floats total[QUERY_ROWS];
  float most[QUERY_ROWS];
};

// 2^x for x up to 0, to about 4e-5: weights are rounded to bfloat16.
inline Floats power_of_two(Floats x) {
  const Floats low = Floats{} - 126.0f;
  x = x < low ? low : x;
  const Floats n = x + 12582912.0f, f = x - (n - 12582912.0f);
  const Floats p = 1.0f + f * (0.693147181f + f * (0.240226507f + f * (0.0555041087f + f * 0.00961812911f)));
  return (Floats)((Ints)p + ((Ints)n << 23));
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

// Scores of one query become weights relative to the largest so far; `seen` keys of the block count.
// The others weigh 2^-126, next to nothing: every query sees a key of the first block.
inline void weigh_row(QueryBlock& block, int64_t row, int64_t width, int64_t seen, float scale,
                      int64_t dim) {
  float* scores = block.scores + row * KEY_BLOCK;
  bf16* weights = block.weights + row * KEY_BLOCK;
  for (int64_t c = seen; c < width; ++c) scores[c] = -1e30f;
  Floats most = load(scores, LANES);
  for (int64_t c = LANES; c < width; c += LANES) {
    const Floats score = load(scores + c, LANES);
    most = score > most ? score : most;
  }
  const float largest = std::max(block.most[row], _mm512_reduce_max_ps((__m512)most) * scale);
  Floats total = {};
  for (int64_t c = 0; c < width; c += LANES) {
    const Floats weight = power_of_two(load(scores + c, LANES) * scale - largest);
    const __m256bh rounded = _mm512_cvtneps_pbh((__m512)weight);
    total += weight;
    std::memcpy(weights + c, &rounded, sizeof rounded);
  }
  if (largest == block.most[row]) {
    block.total[row] += total;
    return;
  }
  const float share = std::exp2(block.most[row] - largest);
  block.total[row] = block.total[row] * share + total;
  block.most[row] = largest;
  float* sums = block.sums + row * dim;
  for (int64_t d = 0; d < dim; d += LANES) store(sums + d, load(sums + d, LANES) * share, LANES);
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
    block.most[row] = -1e30f;
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
      weigh_row(block, row, width, std::clamp<int64_t>(seen - key, 0, width), scale, dim);
    }
    add_values(block.sums, block.weights, task.head.values + key / 32 * TILE_SIZE, task.values_step,
               width, dim);
  }
  for (int64_t row = 0; row < task.count; ++row) {
    const float total = sum(block.total[row]), share = 1.0f / total;
    for (int64_t d = 0; d < dim; d += LANES)
      store(task.out + row * dim + d, load(block.sums + row * dim + d, LANES) * share, LANES);
    task.lse[row] = block.most[row] * 0.693147181f + std::log(total);
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
