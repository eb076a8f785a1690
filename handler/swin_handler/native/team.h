// Threads that run the same function side by side and share out its loops.
#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "signal.h"

namespace swin {

// What the members of a team have in common.
class Meeting {
 public:
  explicit Meeting(int size) : size_(size) {}

  int size() const { return size_; }
  int next() { return next_.fetch_add(1, std::memory_order_relaxed); }

  // Returns when all members have called it; then `next` counts from 0 again.
  void barrier() {
    const unsigned seen = open_.count();
    if (arrived_.fetch_add(1) + 1 < size_) return open_.await(seen);
    arrived_.store(0);
    next_.store(0);
    open_.raise();
  }

 private:
  const int size_;
  alignas(64) std::atomic<int> next_{0};
  alignas(64) std::atomic<int> arrived_{0};
  Signal open_;
};

// One member's view of its team. A member can also work alone, as a team of one: the code of a block is the same
// whether a thread has a group of windows for itself or all threads are in one group.
class Team {
 public:
  Team() = default;
  Team(Meeting* meeting, int member) : meeting_(meeting), size_(meeting->size()), member_(member) {}

  int size() const { return size_; }
  int member() const { return member_; }

  // work(0) … work(count - 1), whoever is free takes the next; returns to all members when all of it is done.
  template <class Work>
  void share(int count, const Work& work) {
    if (size_ == 1) {
      for (int item = 0; item < count; ++item) work(item);
      return;
    }
    for (int item = meeting_->next(); item < count; item = meeting_->next()) work(item);
    meeting_->barrier();
  }

 private:
  Meeting* meeting_ = nullptr;
  int size_ = 1;
  int member_ = 0;
};

// The threads beside the caller's. They sleep when nothing runs.
class Pool {
 public:
  explicit Pool(int size) : meeting_(size) {
    for (int member = 1; member < size; ++member) threads_.emplace_back([this, member] { serve(member); });
  }

  ~Pool() {
    work_ = nullptr;
    start_.raise();
    for (std::thread& thread : threads_) thread.join();
  }

  int size() const { return meeting_.size(); }

  // work(team) in all threads at once, the caller's among them; returns when all have returned.
  void run(const std::function<void(Team&)>& work) {
    work_ = &work;
    start_.raise();
    Team team(&meeting_, 0);
    work(team);
    meeting_.barrier();
  }

 private:
  void serve(int member) {
    Team team(&meeting_, member);
    for (unsigned seen = 0;; ++seen) {
      start_.await(seen);
      if (work_ == nullptr) return;
      (*work_)(team);
      meeting_.barrier();
    }
  }

  Meeting meeting_;
  Signal start_;
  const std::function<void(Team&)>* work_ = nullptr;
  std::vector<std::thread> threads_;
};

}  // namespace swin
