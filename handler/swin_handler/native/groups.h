// How the work of a layer is spread over threads.
#pragma once

#include <algorithm>

namespace swin {

// Windows (or tokens, where a layer needs no neighbours) are gathered into groups that fit the second-level cache.
struct Groups {
  int size;       // windows in a group
  int count;
  bool together;  // all threads work on one group after the other, instead of one thread on each
};

constexpr int kGroupRows = 128;

// `units` windows of `rows` tokens. A group of few rows reads the layer's weights for little work, groups that do not
// come out even leave threads idle, and working together costs a wait after every step.
inline Groups grouped(int units, int rows, int threads) {
  const int largest = std::max(1, kGroupRows / rows);
  Groups best{std::min(units, 2 * largest), 0, true};
  double best_cost = 1.12 * units * rows / threads;
  for (int size = 1; size <= std::min(units, largest); ++size) {
    const int count = (units + size - 1) / size;
    const int rounds = (count + threads - 1) / threads;
    const double cost = rounds * (size * rows + 6.0);
    if (cost <= best_cost || threads == 1) {
      best = {size, count, false};
      best_cost = cost;
    }
  }
  best.count = (units + best.size - 1) / best.size;
  return best;
}

}  // namespace swin
