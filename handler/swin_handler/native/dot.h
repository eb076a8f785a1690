// How a number type multiplies: one step along the axis that A and B share, as the hardware sees it.
//
// All types have one shape. A step takes 32 bits of a row of A (kDepth numbers that are neighbours along the shared
// axis), repeats them in all sixteen lanes and multiplies them with 64 bytes of B (kDepth rows of sixteen columns,
// interleaved), adding kDepth products to each lane's sum.
#pragma once

#include <cstring>

#include "simd.h"

namespace swin {

template <class Word>
inline Word word_at(const void* from) {
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

struct Float32Dot {
  using Value = float;
  using Weight = float;
  using Sum = __m512;
  static constexpr int kDepth = 1;
  static constexpr int kRun = 16;
  static Sum add(Sum sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
};

#ifdef __AVX512BF16__
struct BFloat16Dot {
  using Value = bfloat16;
  using Weight = bfloat16;
  using Sum = __m512;
  static constexpr int kDepth = 2;
  static constexpr int kRun = 0;
  static Sum add(Sum sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
};
#endif

#ifdef __AVX512VNNI__
struct Int8Dot {
  using Value = std::uint8_t;
  using Weight = std::int8_t;
  // Sixteen int32 by name: of a plain __m512i, g++ 12 would copy every sum in every step.
  using Sum [[gnu::vector_size(64)]] = std::int32_t;
  static constexpr int kDepth = 4;
  static constexpr int kRun = 0;
  static Sum add(Sum sum, __m512i a, __m512i b) { return (Sum)_mm512_dpbusd_epi32((__m512i)sum, a, b); }
};
#endif

}  // namespace swin
