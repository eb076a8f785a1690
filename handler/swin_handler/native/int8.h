// Linear layers in 8 bits: weights rounded once, for each output; activations while they pass, for each token.
//
// x ≈ scale·(code - zero) + floor, code from 0 to 255, where what comes out of a GELU has floor -0.17 and zero 0 (half
// of the codes would be lost on numbers that it never gives), and everything else floor 0 and zero 128. So
//   Σ x·w = scale·(Σ code·w - zero·Σ w) + floor·Σ w
// where Σ w are sums of a row of weights: the sums begin with -zero·Σ w, and floor·Σ w is part of the bias.
#pragma once

#include <cmath>

#include "linear.h"

namespace swin {

#ifdef __AVX512VNNI__

constexpr float kGeluFloor = -0.17f;  // its minimum is -0.16997

template <>
class Arithmetic<Int8Dot> {
 public:
  struct Operand {
    Panel<const std::uint8_t> panel;
    const float* scales;  // (rows,)
  };

  struct Scratch {
    Panel<std::uint8_t> codes;
    float* scales;
  };

  static Scratch scratch(Slab& slab, int rows, int columns) {
    return {slab.panel<std::uint8_t>(rows, round_up(columns, 4 * kLanes)), slab.take<float>(rows)};
  }

  static Operand read(Team& team, Scratch to, Panel<const bfloat16> from, int rows, int columns,
                      Source source = Source::kAny) {
    share_rows(team, rows, [&](int top, int count) {
      for (int row = top; row < top + count; ++row) {
        to.scales[row] = source == Source::kGelu ? encode_gelu(from.row(row), columns, to.codes.row(row))
                                                 : encode(from.row(row), columns, to.codes.row(row));
      }
    });
    return {to.codes, to.scales};
  }

  Arithmetic() = default;
  Arithmetic(Arena& arena, const LinearWeights& from, Source source, PackedWeights<Int8Dot>& packed);

  Int8Dot::Sum begin(int column) const { return (Int8Dot::Sum)_mm512_loadu_si512(begin_ + column); }

  Lanes end(const Operand& in, int row, int column, Int8Dot::Sum sum) const {
    const Lanes scaled = _mm512_mul_ps(_mm512_cvtepi32_ps((__m512i)sum), lanes(in.scales[row]));
    return _mm512_fmadd_ps(scaled, load(scale_ + column), load(bias_ + column));
  }

 private:
  static float encode(const bfloat16* from, int columns, std::uint8_t* to);
  static float encode_gelu(const bfloat16* from, int columns, std::uint8_t* to);
  static void write(const bfloat16* from, int columns, float factor, float offset, std::uint8_t* to);

  const std::int32_t* begin_ = nullptr;  // -zero·Σ w
  const float* scale_ = nullptr;         // of each output's weights
  const float* bias_ = nullptr;
};

inline Arithmetic<Int8Dot>::Arithmetic(Arena& arena, const LinearWeights& from, Source source, PackedWeights<Int8Dot>& packed) {
  const int outputs = from.outputs, inputs = from.inputs;
  float* const scale = arena.take<float>(round_up(outputs, kLanes));
  float* const bias = arena.take<float>(round_up(outputs, kLanes));
  std::int32_t* const begin = arena.take<std::int32_t>(round_up(outputs, kLanes));
  std::vector<std::int8_t> codes(static_cast<std::size_t>(outputs) * inputs);
  for (int output = 0; output < outputs; ++output) {
    const float* const row = from.weight + static_cast<long>(output) * inputs;
    float largest = 0;
    for (int input = 0; input < inputs; ++input) largest = std::max(largest, std::abs(row[input]));
    const float factor = largest > 0 ? 127 / largest : 0;
    long sum = 0;
    for (int input = 0; input < inputs; ++input) {
      const int code = static_cast<int>(std::lrint(row[input] * factor));
      codes[static_cast<long>(output) * inputs + input] = static_cast<std::int8_t>(code);
      sum += code;
    }
    const bool gelu = source == Source::kGelu;
    scale[output] = largest / 127;
    begin[output] = gelu ? 0 : static_cast<std::int32_t>(-128 * sum);
    bias[output] = (from.bias ? from.bias[output] : 0) + (gelu ? kGeluFloor * scale[output] * sum : 0);
  }
  packed.fill(outputs, inputs,
              [&](int output, int input) { return codes[static_cast<long>(output) * inputs + input]; });
  begin_ = begin, scale_ = scale, bias_ = bias;
}

// The largest of a row's numbers, or of their absolute values: compared as the integers that bfloat16 is ordered like.
template <bool kAbsolute>
inline float largest(const bfloat16* row, int columns) {
  __m512i most = _mm512_setzero_si512();
  for (int column = 0; column < columns; column += 2 * kLanes) {
    const __mmask32 inside = columns - column >= 32 ? ~__mmask32{0} : (__mmask32)((1u << (columns - column)) - 1);
    const __m512i bits = _mm512_maskz_loadu_epi16(inside, row + column);
    most = _mm512_max_epi16(most, kAbsolute ? _mm512_and_si512(bits, _mm512_set1_epi16(0x7FFF)) : bits);
  }
  const __m512i odd = _mm512_and_si512(most, _mm512_set1_epi32(static_cast<int>(0xFFFF0000)));
  const Lanes both = _mm512_max_ps(_mm512_castsi512_ps(odd), _mm512_castsi512_ps(_mm512_slli_epi32(most, 16)));
  return _mm512_reduce_max_ps(both);
}

inline float Arithmetic<Int8Dot>::encode(const bfloat16* from, int columns, std::uint8_t* to) {
  const float most = largest<true>(from, columns);
  write(from, columns, most > 0 ? 127 / most : 0, 128, to);
  return most / 127;
}

inline float Arithmetic<Int8Dot>::encode_gelu(const bfloat16* from, int columns, std::uint8_t* to) {
  const float range = largest<false>(from, columns) - kGeluFloor;
  write(from, columns, 255 / range, -kGeluFloor * (255 / range), to);
  return range / 255;
}

// code = x·factor + offset, rounded. What is beyond the columns meets weights of zero.
inline void Arithmetic<Int8Dot>::write(const bfloat16* from, int columns, float factor, float offset,
                                       std::uint8_t* to) {
  const auto code = [=](int column) {
    return _mm512_cvtps_epi32(_mm512_fmadd_ps(load(from + column), lanes(factor), lanes(offset)));
  };
  // Packing works within quarters of a register; this puts them in order.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int column = 0; column < columns; column += 4 * kLanes) {
    const __m512i low = _mm512_packus_epi32(code(column), code(column + kLanes));
    const __m512i high = _mm512_packus_epi32(code(column + 2 * kLanes), code(column + 3 * kLanes));
    _mm512_storeu_si512(to + column, _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high)));
  }
}

#endif

}  // namespace swin
