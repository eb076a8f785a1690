// Sixteen float32 in a register: loading, storing, reducing, and the functions that a Swin block needs of them.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace swin {

using Lanes = __m512;
constexpr int kLanes = 16;

constexpr int round_up(int value, int step) { return (value + step - 1) / step * step; }

inline Lanes load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Lanes value) { _mm512_storeu_ps(to, value); }
inline void store(float* to, Lanes low, Lanes high) {
  store(to, low);
  store(to + kLanes, high);
}
inline Lanes lanes(float value) { return _mm512_set1_ps(value); }

template <class T>
T rounded(float value) {
  return value;
}

#ifdef __AVX512BF16__

// The upper half of a float32.
struct bfloat16 {
  std::uint16_t bits;
};

inline Lanes load(const bfloat16* from) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// Rounds to the nearest, ties to even.
inline void store(bfloat16* to, Lanes value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh(value));
}

// Two registers at once, which takes no longer than one.
inline void store(bfloat16* to, Lanes low, Lanes high) {
  _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

template <>
inline bfloat16 rounded<bfloat16>(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return {static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}

#endif

// The first `count` of sixteen lanes; all of them from sixteen up.
inline __mmask16 first(int count) { return count >= kLanes ? 0xFFFF : (__mmask16)((1u << count) - 1); }

// Horner's rule, from the highest power down.
inline Lanes polynomial(Lanes, Lanes sum) { return sum; }

template <class... Lower>
inline Lanes polynomial(Lanes x, Lanes sum, float next, Lower... lower) {
  return polynomial(x, _mm512_fmadd_ps(sum, x, lanes(next)), lower...);
}

// How exactly functions are computed: to float32's precision, or to what rounding to bfloat16 leaves of it.
enum class Precision { kFloat32, kBFloat16 };

// 2^x for any x <= 127; 0 below -150. x = n + f with |f| <= 1/2: 2^f by the polynomial with the smallest largest relative
// error, which is 2e-9 at degree 6 and 7.5e-5 at degree 3 (rounding to bfloat16 is 2e-3); 2^n by the exponent.
template <Precision precision>
inline Lanes exp2(Lanes x) {
  const Lanes whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Lanes f = _mm512_sub_ps(x, whole);
  Lanes power;
  if constexpr (precision == Precision::kFloat32) {
    power = polynomial(f, lanes(1.534581243e-4f), 1.33999309e-3f, 9.61848907e-3f, 5.55032864e-2f, 0.240226462f,
                       0.693147182f, 1.0f);
  } else {
    power = polynomial(f, lanes(0.0551716723f), 0.242611140f, 0.693260968f, 0.999928057f);
  }
  return _mm512_scalef_ps(power, whole);
}

// Eight registers -> their sums, in the first eight lanes.
inline Lanes summed(const Lanes (&rows)[8]) {
  Lanes pairs[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    pairs[i] = _mm512_add_ps(_mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]),
                             _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]));
  }
  __m512d fours[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m512d even = _mm512_castps_pd(pairs[2 * i]), odd = _mm512_castps_pd(pairs[2 * i + 1]);
    fours[i] = _mm512_castps_pd(_mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(even, odd)),
                                              _mm512_castpd_ps(_mm512_unpackhi_pd(even, odd))));
  }
  // Each quarter of a register now has a share of four sums; the quarters are added.
  const Lanes first = _mm512_castpd_ps(fours[0]), second = _mm512_castpd_ps(fours[1]);
  const Lanes halves = _mm512_add_ps(_mm512_shuffle_f32x4(first, second, 0x88), _mm512_shuffle_f32x4(first, second, 0xDD));
  const Lanes swapped = _mm512_shuffle_f32x4(halves, halves, 0xB1);
  const Lanes total = _mm512_add_ps(halves, swapped);  // quarters 0 and 1 have the first four, 2 and 3 the others
  return _mm512_shuffle_f32x4(total, total, 0x08);
}

}  // namespace swin
