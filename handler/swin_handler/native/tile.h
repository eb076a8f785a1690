// The innermost product: a tile of at most 8 rows by 3·16 columns whose sums never leave the registers.
//
// Zen 4, Zen 5 and Intel's server cores start two such instructions a cycle, each of which takes four to six, so that
// at least twelve independent sums keep them busy. 8·3 sums, 3 registers of B and 1 of A are 28 of the 32 there are.
#pragma once

#include <algorithm>

#include "dot.h"

namespace swin {

constexpr int kTileRows = 8;
constexpr int kTileVectors = 3;

// What a tile multiplies, and what it calls into the cache meanwhile.
template <class Dot>
struct Factors {
  const typename Dot::Value* a;   // rows, `stride` numbers apart
  long stride;
  const typename Dot::Weight* b;  // packed, [step][vector][lane][kDepth]
  int steps;
  const char* ahead;              // read soon: `distance` bytes further with every step
  long distance;
};

template <class Dot, int kRows, int kVectors>
[[gnu::always_inline]] inline void add_steps(Factors<Dot> factors, int begin, int end,
                                             typename Dot::Sum (&sums)[kRows][kVectors]) {
  for (int step = begin; step < end; ++step) {
    _mm_prefetch(factors.ahead + step * factors.distance, _MM_HINT_T1);
    __m512i columns[kVectors];
#pragma GCC unroll 3
    for (int vector = 0; vector < kVectors; ++vector) {
      columns[vector] = _mm512_loadu_si512(factors.b + (step * kVectors + vector) * (kLanes * Dot::kDepth));
    }
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      const __m512i numbers = _mm512_set1_epi32(word_at<int>(factors.a + row * factors.stride + step * Dot::kDepth));
#pragma GCC unroll 3
      for (int vector = 0; vector < kVectors; ++vector) {
        sums[row][vector] = Dot::add(sums[row][vector], numbers, columns[vector]);
      }
    }
  }
}

// start(row, vector) is what a sum begins with, finish(row, vector, sum) takes it. Both are taken by value: through a
// reference the compiler would have to reload what they hold after every store.
template <class Dot, int kRows, int kVectors, class Start, class Finish>
[[gnu::always_inline]] inline void tile(Factors<Dot> factors, Start start, Finish finish) {
  typename Dot::Sum sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 3
    for (int vector = 0; vector < kVectors; ++vector) sums[row][vector] = start(row, vector);
  }
  if constexpr (Dot::kRun == 0) {
    add_steps<Dot, kRows, kVectors>(factors, 0, factors.steps, sums);
  } else {
    for (int step = 0; step < factors.steps; step += Dot::kRun) {
      typename Dot::Sum run[kRows][kVectors] = {};
      add_steps<Dot, kRows, kVectors>(factors, step, std::min(step + Dot::kRun, factors.steps), run);
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 3
        for (int vector = 0; vector < kVectors; ++vector) sums[row][vector] += run[row][vector];
      }
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 3
    for (int vector = 0; vector < kVectors; ++vector) finish(row, vector, sums[row][vector]);
  }
}

// The same for a number of rows known only now.
template <class Dot, int kVectors, class Start, class Finish>
[[gnu::always_inline]] inline void tile(int rows, Factors<Dot> factors, Start start, Finish finish) {
  switch (rows) {
    case 8: return tile<Dot, 8, kVectors>(factors, start, finish);
    case 7: return tile<Dot, 7, kVectors>(factors, start, finish);
    case 6: return tile<Dot, 6, kVectors>(factors, start, finish);
    case 5: return tile<Dot, 5, kVectors>(factors, start, finish);
    case 4: return tile<Dot, 4, kVectors>(factors, start, finish);
    case 3: return tile<Dot, 3, kVectors>(factors, start, finish);
    case 2: return tile<Dot, 2, kVectors>(factors, start, finish);
    case 1: return tile<Dot, 1, kVectors>(factors, start, finish);
  }
}

}  // namespace swin
