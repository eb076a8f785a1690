// Sixteen rows of sixteen 32-bit words, transposed in registers.
#pragma once

#include <immintrin.h>

namespace swin {

// Words, then pairs of words, then quarters of registers change places (64 permutations).
inline void transpose(__m512i (&rows)[16]) {
  __m512i pairs[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
    pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      rows[4 * i + 2 * j] = _mm512_unpacklo_epi64(pairs[4 * i + j], pairs[4 * i + 2 + j]);
      rows[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(pairs[4 * i + j], pairs[4 * i + 2 + j]);
    }
  }
  // rows[4i + k], quarter c: column 4c + k of the rows from 4i to 4i + 3.
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    const __m512i low = _mm512_shuffle_i32x4(rows[k], rows[4 + k], 0x88);        // quarters 0, 2 of both
    const __m512i low_odd = _mm512_shuffle_i32x4(rows[k], rows[4 + k], 0xDD);    // 1, 3
    const __m512i high = _mm512_shuffle_i32x4(rows[8 + k], rows[12 + k], 0x88);
    const __m512i high_odd = _mm512_shuffle_i32x4(rows[8 + k], rows[12 + k], 0xDD);
    pairs[k] = _mm512_shuffle_i32x4(low, high, 0x88);
    pairs[8 + k] = _mm512_shuffle_i32x4(low, high, 0xDD);
    pairs[4 + k] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
    pairs[12 + k] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) rows[i] = pairs[i];
}

}  // namespace swin
