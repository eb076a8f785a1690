// x Φ(x), Φ the normal distribution function: the exact GELU (arXiv 1606.08415), not its tanh form.
//
// Both forms are max(x, 0) - T(|x|) with the tail T(a) = a Φ(-a), a bump of height 0.17.
#pragma once

#include "simd.h"

namespace swin {

namespace tail {

// T(a) near a = k/4 is kConstant[k] + kLinear[k] a + kSquare[k] a²: for each k from 0 to 15 the parabola with the
// smallest largest error on its quarter, 6e-5 at worst. Three registers, read by a permutation each, replace the eight
// multiplications of a polynomial for all of T: permutations leave the multipliers to the matrix product.
alignas(64) constexpr float kConstant[16] = {
    1.0256717e-06f, 0.00063656113f, 0.010522582f, 0.046558782f, 0.11917963f, 0.2205645f,   0.32526523f,  0.4023802f,
    0.430751f,      0.40629581f,    0.34276414f,  0.26097268f,  0.18059091f, 0.11418685f,  0.066245563f, 0.035378959f};
alignas(64) constexpr float kLinear[16] = {
    0.49987856f,  0.49210003f, 0.44118616f,  0.32681027f,  0.16085403f,  -0.020024512f, -0.17326462f,  -0.26909387f,
    -0.30001894f, -0.2773658f, -0.22398901f, -0.16163768f, -0.10561883f, -0.063012905f, -0.034518335f, -0.017432092f};
alignas(64) constexpr float kSquare[16] = {
    -0.39706555f, -0.3734661f,  -0.30739582f, -0.21634892f, -0.12137718f, -0.040620521f, 0.015486538f,  0.04527f,
    0.053696934f, 0.048450917f, 0.037237212f, 0.025352078f, 0.015590561f, 0.0087555237f, 0.0045210337f, 0.0021562921f};

inline Lanes by_table(Lanes a) {
  const Lanes inside = _mm512_min_ps(a, lanes(3.87f));  // the last quarter ends at 3.875, where T is 2e-4
  // At 2^21 a float32 counts in quarters, so that the sum's lowest four bits are the nearest k.
  const __m512i k = _mm512_castps_si512(_mm512_add_ps(inside, lanes(2097152.0f)));
  const Lanes constant = _mm512_permutexvar_ps(k, _mm512_load_ps(kConstant));
  const Lanes linear = _mm512_permutexvar_ps(k, _mm512_load_ps(kLinear));
  const Lanes square = _mm512_permutexvar_ps(k, _mm512_load_ps(kSquare));
  return _mm512_fmadd_ps(_mm512_fmadd_ps(square, inside, linear), inside, constant);
}

// Φ(-a) = exp(-a²/2) t Q(t) with t = 1 / (1 + a/4). Q is fitted to erfcx(a / √2) / (2 t) for the smallest largest error
// of T, 2e-9: what is left is float32's own rounding.
inline Lanes by_erfc(Lanes a) {
  const Lanes t = _mm512_div_ps(lanes(1.0f), _mm512_fmadd_ps(a, lanes(0.25f), lanes(1.0f)));
  const Lanes q = polynomial(t, lanes(-0.0907060876f), 0.336363137f, -0.254496276f, 0.265624166f, 0.035468135f,
                             0.10836488f, 0.0993820354f);
  const Lanes bell = exp2<Precision::kFloat32>(_mm512_mul_ps(_mm512_mul_ps(a, a), lanes(-0.721347520f)));
  return _mm512_mul_ps(a, _mm512_mul_ps(_mm512_mul_ps(t, q), bell));
}

}  // namespace tail

template <Precision precision>
inline Lanes gelu(Lanes x) {
  const Lanes a = _mm512_abs_ps(x);
  const Lanes bump = precision == Precision::kFloat32 ? tail::by_erfc(a) : tail::by_table(a);
  return _mm512_sub_ps(_mm512_max_ps(x, _mm512_setzero_ps()), bump);
}

}  // namespace swin
