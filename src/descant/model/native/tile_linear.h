// Products by a weight that was cut into tiles once: it is read in order, and asked for ahead of time.
// A token's sums are the same bits whatever else is in the step.
#pragma once

#include "tiles.h"

namespace {

// Up to 32 tokens, and whether they are more than one tile holds.
struct Panel {
  const bf16* x;
  int64_t step;
  bool has_second;
};

// A pair of tiles of outputs, over `depth` tiles of inputs.
struct WeightPair {
  const bf16 *first, *second;
  int64_t depth;
};

inline WeightPair pair_of(const bf16* weight, int64_t pair, int64_t depth) {
  const bf16* first = weight + pair * 2 * depth * TILE_SIZE;
  return {first, first + depth * TILE_SIZE, depth};
}

// Tiles 0 to 3 += one step of a panel's inputs by a pair's.
inline void add_step(const Panel& panel, const WeightPair& weight, int64_t k) {
  add_products(panel.x + k * TILE_INPUTS, panel.step, weight.first + k * TILE_SIZE,
               weight.second + k * TILE_SIZE, panel.has_second);
}

// 32 outputs of a panel, x @ weight^T, in tiles 0 to 3; what follows the weight is asked for.
inline void add_up_asking(const Panel& panel, const WeightPair& weight) {
  zero_sums();
  for (int64_t k = 0; k < weight.depth; ++k) {
    ask_for(weight.first + (k + AHEAD) * TILE_SIZE, TILE_SIZE);
    ask_for(weight.second + (k + AHEAD) * TILE_SIZE, TILE_SIZE);
    add_step(panel, weight, k);
  }
}

// The same, with a weight that is at hand. Inputs and weights of a long sum push everything else out of
// the first-level cache, and a tile that is stored then takes a thousand cycles (measured): `scratch`
// [16, 32] is written in between, which keeps the way to memory short.
inline void add_up(const Panel& panel, const WeightPair& weight, bf16* scratch) {
  zero_sums();
  for (int64_t k = 0; k < weight.depth; ++k) {
    add_step(panel, weight, k);
    if (k % 4 == 3) _tile_stored(4, scratch, 64);
  }
}

// What becomes of the sums [32, 32] of a pair of tiles of outputs.
struct Outputs {
  bf16* to;
  int64_t width;
};

inline __m512bh round_row(const float* sums) {
  return _mm512_cvtne2ps_pbh(_mm512_load_ps(sums + LANES), _mm512_load_ps(sums));
}

// Neighbouring outputs.
struct Whole {
  static void put(const Outputs& out, const float* sums, int64_t first, int64_t count, int64_t pair) {
    for (int64_t token = 0; token < count; ++token) {
      const __m512bh row = round_row(sums + token * 32);
      std::memcpy(out.to + (first + token) * out.width + pair * 32, &row, sizeof row);
    }
  }
};

// Sixteen outputs of one module, and the same of another that stands behind it.
struct Halved {
  static void put(const Outputs& out, const float* sums, int64_t first, int64_t count, int64_t pair) {
    for (int64_t token = 0; token < count; ++token) {
      bf16* to = out.to + (first + token) * out.width + pair * LANES;
      const __m512bh row = round_row(sums + token * 32);
      std::memcpy(to, &row, sizeof row / 2);
      std::memcpy(to + out.width / 2, reinterpret_cast<const bf16*>(&row) + LANES, sizeof row / 2);
    }
  }
};

// silu of the first sixteen times the second: the same bits as `silu_mul` of what `Halved` puts down.
struct Gated {
  static void put(const Outputs& out, const float* sums, int64_t first, int64_t count, int64_t pair) {
    for (int64_t token = 0; token < count; ++token) {
      const __m512bh row = round_row(sums + token * 32);
      std::array<bf16, 2 * LANES> both;
      std::memcpy(both.data(), &row, sizeof row);
      store(out.to + (first + token) * out.width + pair * LANES,
            silu_times(load(both.data(), LANES), load(both.data() + LANES, LANES)), LANES);
    }
  }
};

// Up to 32 tokens, read where they are.
template <class Store>
void linear_of_few(const Outputs& out, const Tensor& x, const bf16* weight, int64_t pairs,
                   int64_t depth) {
  const int64_t tokens = x.size(0);
  const Panel panel{data(x), x.stride(0), tokens > TILE_ROWS};
  parallel_for(0, pairs, 1, [&](int64_t begin, int64_t end) {
    alignas(64) float sums[32 * 32];
    shape_tiles(tokens);
    for (int64_t pair = begin; pair < end; ++pair) {
      add_up_asking(panel, pair_of(weight, pair, depth));
      store_sums(sums, 32);
      Store::put(out, sums, 0, tokens, pair);
    }
    _tile_release();
  });
}

// Tokens in panels of 32; the last one overlaps the one before, since tiles of another shape take longer.
template <class Store>
void linear_of_many(const Outputs& out, const Tensor& x, const bf16* weight, int64_t pairs,
                    int64_t depth) {
  const int64_t tokens = x.size(0), step = x.stride(0), panels = (tokens + 31) / 32;
  const int64_t blocks = (panels * depth * TILE_SIZE * 4 - 1) / BLOCK_BYTES + 1;
  const int64_t block = (panels + blocks - 1) / blocks;
  parallel_for(0, pairs, 1, [&](int64_t begin, int64_t end) {
    // Sums are put in their place while the next ones are added up.
    alignas(64) float sums[32 * 32];
    alignas(64) bf16 scratch[TILE_SIZE];
    int64_t last_token = 0, last_pair = -1;
    shape_tiles(32);
    for (int64_t first = 0; first < panels; first += block)
      for (int64_t pair = begin; pair < end; ++pair)
        for (int64_t i = first; i < std::min(panels, first + block); ++i) {
          const int64_t token = std::min(i * 32, tokens - 32);
          const Panel panel{data(x) + token * step, step, true};
          if (i == first) add_up_asking(panel, pair_of(weight, pair, depth));
          else add_up(panel, pair_of(weight, pair, depth), scratch);
          if (last_pair >= 0) Store::put(out, sums, last_token, 32, last_pair);
          store_sums(sums, 32);
          last_token = token, last_pair = pair;
        }
    if (last_pair >= 0) Store::put(out, sums, last_token, 32, last_pair);
    _tile_release();
  });
}

template <class Store>
Tensor tile_product(const Tensor& x, const Tensor& weight, int64_t width) {
  Tensor out = torch::stable::new_empty(x, {x.size(0), width});
  const auto run = x.size(0) <= 32 ? linear_of_few<Store> : linear_of_many<Store>;
  run({mutable_data(out), width}, x, data(weight), weight.size(0) / 2, weight.size(1));
  return out;
}

// x [T, K], weight [O / 16, K / 32, 16, 16, 2]: x @ weight^T.
Tensor tile_linear(Tensor x, Tensor weight) {
  return tile_product<Whole>(x, weight, weight.size(0) * TILE_ROWS);
}

// The same, where tiles of two equal modules take turns: the outputs of the one, then of the other.
Tensor tile_halves(Tensor x, Tensor weight) {
  return tile_product<Halved>(x, weight, weight.size(0) * TILE_ROWS);
}

// The same, with the first module's outputs as the gate of the second's: [T, O / 2].
Tensor tile_gate(Tensor x, Tensor weight) {
  return tile_product<Gated>(x, weight, weight.size(0) * TILE_ROWS / 2);
}

}  // namespace
