// Sixteen floats at a time, in the vector types of GCC and Clang: they compile for any processor.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

using bf16 = uint16_t;
using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
using Bits = uint32_t __attribute__((vector_size(64)));
using Halves = uint16_t __attribute__((vector_size(32)));

constexpr int64_t LANES = 16;

inline float widen(bf16 x) {
  uint32_t bits = static_cast<uint32_t>(x) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// Copies of a known size are single instructions; these are the sizes that occur.
inline void copy(void* to, const void* from, int64_t count, int64_t size) {
  if (count == LANES) std::memcpy(to, from, LANES * size);
  else if (count == LANES / 2) std::memcpy(to, from, LANES / 2 * size);
  else std::memcpy(to, from, count * size);
}

// The first `count` of sixteen; the others are 0.
inline Floats load(const bf16* from, int64_t count) {
  Halves halves = {};
  copy(&halves, from, count, sizeof(bf16));
  return (Floats)(__builtin_convertvector(halves, Bits) << 16);
}

inline Floats load(const float* from, int64_t count) {
  Floats values = {};
  copy(&values, from, count, sizeof(float));
  return values;
}

// Rounds to nearest, ties to even, as PyTorch does.
inline Bits rounded_bits(Floats x) {
  const Bits bits = (Bits)x;
  const Bits up = bits + 0x7fffu + ((bits >> 16) & 1u);
  return (bits & 0x7fffffffu) > 0x7f800000u ? Bits{} + 0x7fc00000u : up;
}

inline Floats rounded(Floats x) { return (Floats)(rounded_bits(x) & 0xffff0000u); }

inline void store(bf16* to, Floats x, int64_t count) {
#if defined(__AVX512BF16__)
  const __m256bh halves = _mm512_cvtneps_pbh((__m512)x);
#else
  const Halves halves = __builtin_convertvector(rounded_bits(x) >> 16, Halves);
#endif
  copy(to, &halves, count, sizeof(bf16));
}

inline void store(float* to, Floats x, int64_t count) { copy(to, &x, count, sizeof(float)); }

inline float sum(Floats x) {
  float total = 0;
  for (int64_t lane = 0; lane < LANES; ++lane) total += x[lane];
  return total;
}

// The sums of neighbouring pairs of a, then of b.
template <class Vector>
inline Vector pair_sums(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

// Sixteen sums at once: lane i is the sum of x[i].
template <class Vector>
inline Vector sums_of(Vector* x) {
  for (int i = 0; i < 8; ++i) x[i] = pair_sums(x[2 * i], x[2 * i + 1]);
  for (int i = 0; i < 4; ++i) x[i] = pair_sums(x[2 * i], x[2 * i + 1]);
  for (int i = 0; i < 2; ++i) x[i] = pair_sums(x[2 * i], x[2 * i + 1]);
  return pair_sums(x[0], x[1]);
}

#if defined(__AVX512DQ__)
// FACTOR * 2^x, to about 1e-4: attention's weights, which become bfloat16, need no more.
template <float FACTOR>
inline Floats power_of_two(Floats x) {
  const Floats f = (Floats)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEG_INF);
  const Floats p = FACTOR * 0.999925f + f * (FACTOR * 0.695833f + f * (FACTOR * 0.226068f + f * (FACTOR * 0.0780237f)));
  return (Floats)_mm512_scalef_ps((__m512)p, (__m512)x);
}
#endif

// exp to about 1e-6, and never infinite.
inline Floats exponential(Floats x) {
#if defined(__AVX512DQ__)
  const Floats power = (Floats)_mm512_min_ps(_mm512_set1_ps(127.0f), (__m512)(x * 1.44269504f));
  const Floats f = (Floats)_mm512_reduce_ps((__m512)power, _MM_FROUND_TO_NEG_INF);
  const Floats p = 0.999999925f + f * (0.693153073f + f * (0.240153621f + f * (0.055826308f + f * (0.00898935107f + f * (0.00187757235f)))));
  return (Floats)_mm512_scalef_ps((__m512)p, (__m512)power);
#else
  const Floats low = Floats{} - 87.0f, high = Floats{} + 88.0f;
  x = x < low ? low : x;
  x = x > high ? high : x;
  // Adding and taking off 1.5 * 2^23 rounds to a whole number.
  const Floats n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  const Floats f = x - n * 0.693147181f;
  const Floats p = 1 + f * (1 + f * (0.5f + f * (0.166666667f + f * (0.0416666667f +
                   f * (0.00833333333f + f * 0.00138888889f)))));
  const Ints power = (__builtin_convertvector(n, Ints) + 127) << 23;
  return p * (Floats)power;
#endif
}

// 1 / x to about 1e-7.
inline Floats reciprocal(Floats x) {
#if defined(__AVX512F__)
  const Floats guess = (Floats)_mm512_rcp14_ps((__m512)x);
  return guess * (2.0f - x * guess);
#else
  return 1.0f / x;
#endif
}

// silu(gate) * up, rounded where PyTorch rounds.
inline Floats silu_times(Floats gate, Floats up) {
  return rounded(gate * reciprocal(1.0f + exponential(-gate))) * up;
}

// sums[i] += a[2i] * b[2i] + a[2i+1] * b[2i+1], of bfloat16 pairs.
inline Floats add_pairs(Floats sums, Bits a, Bits b) {
#if defined(__AVX512BF16__)
  return (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)a, (__m512bh)b);
#else
  sums += (Floats)(a << 16) * (Floats)(b << 16);
  return sums + (Floats)(a & 0xffff0000u) * (Floats)(b & 0xffff0000u);
#endif
}

// sums[i] += the products of the four bytes at i, unsigned by signed.
inline Ints add_bytes(Ints sums, Bits digits, Bits values) {
#if defined(__AVX512VNNI__)
  return (Ints)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)digits, (__m512i)values);
#else
  for (int byte = 0; byte < 4; ++byte)
    sums += (Ints)((digits >> (8 * byte)) & 0xffu) * ((Ints)(values << (24 - 8 * byte)) >> 24);
  return sums;
#endif
}

// Calls step(first, count) for every sixteen of `size`, and for what is left.
template <class Step>
inline void each(int64_t size, Step step) {
  int64_t i = 0;
  for (; i + LANES <= size; i += LANES) step(i, LANES);
  if (i < size) step(i, size - i);
}

}  // namespace
