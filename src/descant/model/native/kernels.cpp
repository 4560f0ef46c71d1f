// The operations that PyTorch has not, or not as fast, on the CPU.
//
// bfloat16 only. Every one has a twin in plain PyTorch (`descant.model.ops`, `linear`, `quantization` and
// `partial_attention`, `descant.engine.low_rank_stack`) that says what it computes; roundings to bfloat16
// stand in the same places, so that they are equal up to the order of sums. Built for torch's stable ABI:
// one binary for later versions.

#include <torch/csrc/stable/library.h>

#include "elementwise.h"
#include "short_attention.h"
#include "single_rows.h"

#if defined(__AMX_BF16__) && defined(__AMX_INT8__)
#include "tile_attention.h"
#include "tile_bytes.h"
#include "tile_gradient.h"
#include "tile_linear.h"
#include "tile_low_rank.h"
#include "tile_low_rank_bytes.h"
#endif

STABLE_TORCH_LIBRARY(descant, m) {
  m.def("rms_norm(Tensor x, Tensor weight, float eps) -> Tensor");
  m.def("add_rms_norm(Tensor x, Tensor update, Tensor weight, float eps) -> (Tensor, Tensor)");
  m.def("rms_norm_backward(Tensor grad, Tensor x, Tensor weight, float eps) -> Tensor");
  m.def("silu_mul_backward(Tensor grad, Tensor gate, Tensor up) -> Tensor");
  m.def("rotate(Tensor heads, Tensor cos, Tensor sin) -> Tensor");
  m.def("silu_mul(Tensor gate, Tensor up) -> Tensor");
  m.def("write_slots(Tensor(a!) cache, Tensor x, Tensor slots) -> ()");
  m.def("decode_attention(Tensor q, Tensor keys, Tensor values, Tensor slots, Tensor lengths) -> Tensor");
  m.def("short_attention(Tensor q, Tensor k, Tensor v) -> (Tensor, Tensor)");
  m.def("linear_row(Tensor x, Tensor weight) -> Tensor");
#if defined(__AMX_BF16__) && defined(__AMX_INT8__)
  m.def("tile_linear(Tensor x, Tensor weight) -> Tensor");
  m.def("tile_bytes(Tensor x, Tensor weight, Tensor scale) -> Tensor");
  m.def("tile_two_bytes(Tensor x, Tensor weight, Tensor scale) -> Tensor");
  m.def("tile_halves(Tensor x, Tensor weight) -> Tensor");
  m.def("tile_gate(Tensor x, Tensor weight) -> Tensor");
  m.def("tile_attention(Tensor q, Tensor k, Tensor v, bool causal) -> (Tensor, Tensor)");
  m.def("tile_query_gradient(Tensor grad, Tensor q, Tensor out, Tensor lse, Tensor k, Tensor v) -> Tensor");
  m.def("low_rank_tiles(Tensor(a!) y, Tensor x, Tensor shrink, Tensor expand, Tensor groups, "
        "Tensor starts) -> ()");
  m.def("low_rank_bytes(Tensor(a!) y, Tensor x, Tensor shrink, Tensor expand, Tensor scale, "
        "Tensor groups, Tensor starts) -> ()");
#endif
  m.def("byte_row(Tensor x, Tensor weight, Tensor scale, Tensor sums, bool two) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(descant, CPU, m) {
  m.impl("rms_norm", TORCH_BOX(&rms_norm));
  m.impl("add_rms_norm", TORCH_BOX(&add_rms_norm));
  m.impl("rms_norm_backward", TORCH_BOX(&rms_norm_backward));
  m.impl("silu_mul_backward", TORCH_BOX(&silu_mul_backward));
  m.impl("rotate", TORCH_BOX(&rotate));
  m.impl("silu_mul", TORCH_BOX(&silu_mul));
  m.impl("write_slots", TORCH_BOX(&write_slots));
  m.impl("decode_attention", TORCH_BOX(&decode_attention));
  m.impl("short_attention", TORCH_BOX(&short_attention));
  m.impl("linear_row", TORCH_BOX(&linear_row));
#if defined(__AMX_BF16__) && defined(__AMX_INT8__)
  m.impl("tile_linear", TORCH_BOX(&tile_linear));
  m.impl("tile_bytes", TORCH_BOX(&tile_bytes));
  m.impl("tile_two_bytes", TORCH_BOX(&tile_two_bytes));
  m.impl("tile_halves", TORCH_BOX(&tile_halves));
  m.impl("tile_gate", TORCH_BOX(&tile_gate));
  m.impl("tile_attention", TORCH_BOX(&tile_attention));
  m.impl("tile_query_gradient", TORCH_BOX(&tile_query_gradient));
  m.impl("low_rank_tiles", TORCH_BOX(&low_rank_tiles));
  m.impl("low_rank_bytes", TORCH_BOX(&low_rank_bytes));
#endif
  m.impl("byte_row", TORCH_BOX(&byte_row));
}
