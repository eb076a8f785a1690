// A number that only grows, which threads wait for: spinning first, asleep after that.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace swin {

class Signal {
 public:
  unsigned count() const { return count_.load(); }

  void raise() {
    count_.fetch_add(1);
    if (sleepers_.load() == 0) return;
    // Whoever saw the old count holds the lock until it sleeps.
    { const std::lock_guard<std::mutex> lock(mutex_); }
    awake_.notify_all();
  }

  // Returns once the count is no longer `seen`. Parts of a forward pass are tens of microseconds long, so waiting for
  // the next one asleep would cost more than it; but whoever waits longer has lost its partner's core to another
  // thread, or has nothing to do, and spinning would take time from those that have.
  void await(unsigned seen) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point deadline = Clock::now() + std::chrono::microseconds(50);
    while (count_.load() == seen) {
      for (int pause = 0; pause < 32 && count_.load(std::memory_order_relaxed) == seen; ++pause) _mm_pause();
      if (Clock::now() > deadline) return sleep(seen);
    }
  }

 private:
  void sleep(unsigned seen) {
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_.fetch_add(1);
    awake_.wait(lock, [&] { return count_.load() != seen; });
    sleepers_.fetch_sub(1);
  }

  std::atomic<unsigned> count_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable awake_;
};

}  // namespace swin
