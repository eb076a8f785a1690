// Seconds that a thread has spent in each step, where somebody asked for them.
#pragma once

#include <chrono>

namespace swin {

enum Step { kEmbed, kQkv, kAttention, kProjection, kMlp, kMerge, kHead, kSteps };

struct Profile {
  bool on = false;
  double seconds[kSteps] = {};
};

// Adds the time between its construction, or the last `next`, and its end.
class Stopwatch {
 public:
  using Clock = std::chrono::steady_clock;

  Stopwatch(Profile& profile, Step step) : profile_(profile), step_(step) {
    if (profile_.on) begin_ = Clock::now();
  }
  ~Stopwatch() { stop(); }

  void next(Step step) {
    stop();
    step_ = step;
  }

 private:
  void stop() {
    if (!profile_.on) return;
    const Clock::time_point now = Clock::now();
    profile_.seconds[step_] += std::chrono::duration<double>(now - begin_).count();
    begin_ = now;
  }

  Profile& profile_;
  Step step_;
  Clock::time_point begin_;
};

}  // namespace swin
