// The gradient of queries through attention over constant keys, on tiles: weights come back from the
// log-sum-exp, 32 queries by 128 keys at a time, and never stand in memory (FlashAttention-2, as the
// forward pass).
#pragma once

#include "tile_attention.h"

namespace {

// One head's constants: keys and values as weights [keys, D], keys again as one of [D, keys].
struct ConstantHead {
  const bf16 *keys, *values, *key_columns;
};

// What one block of queries keeps while it goes through the keys.
struct alignas(64) GradientBlock {
  float scores[QUERY_ROWS * KEY_BLOCK], pulls[QUERY_ROWS * KEY_BLOCK], sums[QUERY_ROWS * MAX_HEAD];
  bf16 q[QUERY_ROWS * MAX_HEAD], grad[QUERY_ROWS * MAX_HEAD], weights[QUERY_ROWS * KEY_BLOCK];
  float lse[QUERY_ROWS], delta[QUERY_ROWS];
};

// Up to 32 queries of one head; `lse` is that of all keys they see, these and others.
struct GradientTask {
  const bf16 *q, *grad, *out;
  int64_t q_step, grad_step, out_step, count, num_keys, dim;
  const float* lse;
  ConstantHead head;
  int64_t columns_step;
  bf16* grad_q;
};

inline void read_queries(const GradientTask& task, GradientBlock& block) {
  const int64_t dim = task.dim;
  std::memset(&block, 0, sizeof block);
  for (int64_t row = 0; row < task.count; ++row) {
    const bf16 *grad = task.grad + row * task.grad_step, *out = task.out + row * task.out_step;
    std::memcpy(block.q + row * dim, task.q + row * task.q_step, dim * 2);
    std::memcpy(block.grad + row * dim, grad, dim * 2);
    Floats delta = {};
    for (int64_t d = 0; d < dim; d += LANES) delta += load(grad + d, LANES) * load(out + d, LANES);
    block.delta[row] = sum(delta);
    block.lse[row] = task.lse[row] * 1.44269504f;
  }
}

// weights = exp(score - lse) * (pull - delta); keys c and c + 16 become neighbours.
inline void weigh_pulls(GradientBlock& block, int64_t row, int64_t width, float scale) {
  const float lse = block.lse[row], delta = block.delta[row];
  const float *scores = block.scores + row * KEY_BLOCK, *pulls = block.pulls + row * KEY_BLOCK;
  const auto weight = [&](int64_t c) {
    const Floats power = load(scores + c, LANES) * scale - lse;
    // A weight is at most 1; keys behind the last are zeros, and theirs may be anything finite.
    return power_of_two<CUT>(power > 0 ? Floats{} : power) * (load(pulls + c, LANES) - delta);
  };
  for (int64_t c = 0; c < width; c += 2 * LANES)
    store_neighbours(block.weights + row * KEY_BLOCK + c, weight(c), weight(c + LANES));
}

void run_gradient_block(const GradientTask& task, GradientBlock& block) {
  const int64_t dim = task.dim;
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  read_queries(task, block);
  for (int64_t key = 0; key < task.num_keys; key += KEY_BLOCK) {
    const int64_t width = std::min(KEY_BLOCK, (task.num_keys - key + 31) / 32 * 32);
    const int64_t tile = key / 16 * (dim / 32) * TILE_SIZE;
    score_tiles(block.scores, block.q, task.head.keys + tile, width, dim);
    score_tiles(block.pulls, block.grad, task.head.values + tile, width, dim);
    for (int64_t row = 0; row < QUERY_ROWS; ++row)
      weigh_pulls(block, row, width, scale * 1.44269504f);
    add_values(block.sums, block.weights, task.head.key_columns + key / 32 * TILE_SIZE,
               task.columns_step, width, dim);
  }
  for (int64_t row = 0; row < task.count; ++row)
    for (int64_t d = 0; d < dim; d += LANES)
      store(task.grad_q + row * dim + d, load(block.sums + row * dim + d, LANES) * scale, LANES);
}

// grad, q and out [N, G, M, D], lse [N, G, M], k and v [N, G, C, D]: the gradient of q [N, G, M, D].
Tensor tile_query_gradient(Tensor grad, Tensor q, Tensor out, Tensor lse, Tensor k, Tensor v) {
  const int64_t batch = q.size(0), groups = q.size(1), rows = q.size(2), dim = q.size(3);
  const int64_t keys = k.size(2), blocks = (keys + 31) / 32;
  const int64_t head_size = blocks * 32 * dim, columns_step = blocks * TILE_SIZE;
  Tensor grad_q = torch::stable::new_empty(q, {batch, groups, rows, dim});
  Tensor tiles = torch::stable::new_empty(q, {3, batch * groups, head_size});
  bf16* key_tiles = mutable_data(tiles);
  bf16 *value_tiles = key_tiles + batch * groups * head_size;
  bf16 *key_columns = value_tiles + batch * groups * head_size;
  parallel_for(0, batch * groups * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / blocks, block = item % blocks, n = head / groups, g = head % groups;
      const int64_t count = std::min<int64_t>(32, keys - block * 32);
      const int64_t place = head * head_size + block * 32 * dim;
      const bf16 *own_keys = rows_of(k, n, g, block * 32), *own_values = rows_of(v, n, g, block * 32);
      tile_rows(key_tiles + place, own_keys, k.stride(2), count, dim);
      tile_rows(value_tiles + place, own_values, v.stride(2), count, dim);
      tile_columns(key_columns + head * head_size + block * TILE_SIZE, columns_step, own_keys,
                   k.stride(2), count, dim);
    }
  });
  const int64_t parts = (rows + QUERY_ROWS - 1) / QUERY_ROWS;
  parallel_for(0, batch * groups * parts, 1, [&](int64_t begin, int64_t end) {
    const auto block = std::make_unique<GradientBlock>();
    shape_tiles(32);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / parts, first = item % parts * QUERY_ROWS;
      const int64_t n = head / groups, g = head % groups;
      run_gradient_block({rows_of(q, n, g, first), rows_of(grad, n, g, first), rows_of(out, n, g, first),
                          q.stride(2), grad.stride(2), out.stride(2),
                          std::min(QUERY_ROWS, rows - first), keys, dim,
                          values_of<float>(lse) + head * rows + first,
                          {key_tiles + head * head_size, value_tiles + head * head_size,
                           key_columns + head * head_size},
                          columns_step, mutable_data(grad_q) + (head * rows + first) * dim},
                         *block);
    }
    _tile_release();
  });
  return grad_q;
}

}  // namespace
