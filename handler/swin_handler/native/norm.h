// Layer norm.
#pragma once

#include "memory.h"

namespace swin {

struct NormWeights {
  const float* weight;  // null where the next linear layer has taken it in; then so is bias
  const float* bias;
  int width;
  float eps;
};

class Norm {
 public:
  Norm() = default;
  Norm(Arena& arena, const NormWeights& from)
      : width_(from.width),
        eps_(from.eps),
        weight_(from.weight ? arena.copy(from.weight, from.width, from.width) : nullptr),
        bias_(from.bias ? arena.copy(from.bias, from.width, from.width) : nullptr) {}

  int width() const { return width_; }

  // Of at most 8 rows, which are normalised together: what is summed over a row's lanes, is summed for all at once.
  // each(row, column, value) takes sixteen normalised numbers; beyond the width they are finite and mean nothing.
  template <class Each>
  void apply(Panel<const float> rows, int count, Each each) const {
    alignas(64) float mean[kLanes], scale[kLanes];
    const Lanes share = lanes(1.0f / width_);
    store(mean, _mm512_mul_ps(share, sums(rows, count, [](Lanes x, int) { return x; })));
    // About the mean: E[x²] - E[x]² would cancel where the mean is large.
    const Lanes squares = sums(rows, count, [&](Lanes x, int row) {
      const Lanes away = _mm512_sub_ps(x, lanes(mean[row]));
      return _mm512_mul_ps(away, away);
    });
    const Lanes variance = _mm512_fmadd_ps(share, squares, lanes(eps_));
    store(scale, _mm512_div_ps(lanes(1.0f), _mm512_sqrt_ps(variance)));
    for (int row = 0; row < count; ++row) write(rows.row(row), mean[row], scale[row], [=](int column, Lanes value) {
      each(row, column, value);
    });
  }

 private:
  // Of of(x, row) over each row.
  template <class Of>
  Lanes sums(Panel<const float> rows, int count, Of of) const {
    Lanes totals[8] = {};
    for (int row = 0; row < count; ++row) {
      const float* const from = rows.row(row);
      Lanes even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();  // one sum would wait for each addition
      int column = 0;
      for (; column + 2 * kLanes <= width_; column += 2 * kLanes) {
        even = _mm512_add_ps(even, of(load(from + column), row));
        odd = _mm512_add_ps(odd, of(load(from + column + kLanes), row));
      }
      for (; column < width_; column += kLanes) {
        even = _mm512_mask_add_ps(even, first(width_ - column), even, of(load(from + column), row));
      }
      totals[row] = _mm512_add_ps(even, odd);
    }
    return summed(totals);
  }

  template <class Each>
  void write(const float* row, float mean, float scale, Each each) const {
    for (int column = 0; column < width_; column += kLanes) {
      Lanes value = _mm512_mul_ps(_mm512_sub_ps(load(row + column), lanes(mean)), lanes(scale));
      if (weight_) value = _mm512_mul_ps(value, load(weight_ + column));
      if (bias_) value = _mm512_add_ps(value, load(bias_ + column));
      each(column, value);
    }
  }

  int width_ = 0;
  float eps_ = 0;
  const float* weight_ = nullptr;
  const float* bias_ = nullptr;
};

}  // namespace swin
