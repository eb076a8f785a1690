// In which numbers a network computes.
#pragma once

#include "dot.h"

namespace swin {

// Value: what lies between the steps of a block. Sums, norms, softmax and shortcuts are float32 in all of them.
struct Float32 {
  using Value = float;
  using LinearDot = Float32Dot;
  using AttentionDot = Float32Dot;
  static constexpr Precision precision = Precision::kFloat32;
};

#ifdef __AVX512BF16__
struct BFloat16 {
  using Value = bfloat16;
  using LinearDot = BFloat16Dot;
  using AttentionDot = BFloat16Dot;
  static constexpr Precision precision = Precision::kBFloat16;
};
#endif

#ifdef __AVX512VNNI__
// Linear layers in 8 bits, attention in bfloat16.
struct Int8 {
  using Value = bfloat16;
  using LinearDot = Int8Dot;
  using AttentionDot = BFloat16Dot;
  static constexpr Precision precision = Precision::kBFloat16;
};
#endif

}  // namespace swin
