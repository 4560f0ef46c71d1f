// Attention of a few new tokens of each sequence among themselves, with the log-sum-exp out.
#pragma once

#include "single_rows.h"

namespace {

// q [N, H, S, D], k and v [N, G, S, D] for up to sixteen tokens: token s sees 0 to s. Returns the output
// [N, H, S, D] and the log-sum-exp [N, H, S].
std::tuple<Tensor, Tensor> short_attention(Tensor q, Tensor k, Tensor v) {
  const int64_t batch = q.size(0), heads = q.size(1), tokens = q.size(2), dim = q.size(3);
  const int64_t share = heads / k.size(1);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  Tensor out = torch::stable::new_empty(q, {batch, heads, tokens, dim});
  Tensor lse = torch::stable::new_empty(q, {batch, heads, tokens}, torch::headeronly::ScalarType::Float);
  float* sums = reinterpret_cast<float*>(lse.data_ptr());
  parallel_for(0, batch * heads * tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t token = row % tokens, head = row / tokens % heads, n = row / tokens / heads;
      const int64_t count = token + 1;
      const bf16 *query = rows_of(q, n, head, token), *keys = rows_of(k, n, head / share, 0);
      Floats parts[LANES] = {};
      for (int64_t c = 0; c < count; ++c) parts[c] = products(query, keys + c * k.stride(2), dim);
      std::array<float, LANES> scores;
      store(scores.data(), sums_of(parts) * scale, LANES);
      const float most = *std::max_element(scores.begin(), scores.begin() + count);
      store(scores.data(), exponential(load(scores.data(), count) - most), LANES);
      const float total = sum(load(scores.data(), count));
      sums[row] = most + std::log(total);
      const bf16* values = rows_of(v, n, head / share, 0);
      each(dim, [&](int64_t d, int64_t size) {
        Floats weighed = {};
        for (int64_t c = 0; c < count; ++c)
          weighed += scores[c] / total * load(values + c * v.stride(2) + d, size);
        store(mutable_data(out) + row * dim + d, weighed, size);
      });
    }
  });
  return {out, lse};
}

}  // namespace
