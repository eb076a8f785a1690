// Where numbers lie: panels (rows of a matrix), buffers of one size, and the arena that all weights share.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "simd.h"

namespace swin {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Zeroed, on a cache line. From 2 MB up in huge pages: weights are read from one end to the other, and 4 KB pages would
// miss the address translation cache every 64 lines.
inline std::unique_ptr<void, Free> allocate(std::size_t bytes) {
  const std::size_t huge = std::size_t{1} << 21;
  const std::size_t alignment = bytes >= huge ? huge : 64;
  bytes = (bytes + alignment - 1) / alignment * alignment;
  std::unique_ptr<void, Free> memory(std::aligned_alloc(alignment, bytes));
  if (!memory) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (alignment == huge) madvise(memory.get(), bytes, MADV_HUGEPAGE);  // a wish: without it all is right, only slower
#endif
  std::memset(memory.get(), 0, bytes);
  return memory;
}

template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t count) : memory_(allocate(count * sizeof(T))) {}
  T* data() const { return static_cast<T*>(memory_.get()); }

 private:
  std::unique_ptr<void, Free> memory_;
};

// Hands out pieces that live as long as the arena.
class Arena {
 public:
  template <class T>
  T* take(std::size_t count) {
    const std::size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
    if (bytes > left_) grow(bytes);
    void* const piece = next_;
    next_ += bytes;
    left_ -= bytes;
    return static_cast<T*>(piece);
  }

  // A copy of `count` numbers, followed by zeros up to as many whole registers as hold `length` numbers.
  const float* copy(const float* from, int count, int length) {
    float* const to = take<float>(round_up(length, kLanes));
    if (count) std::memcpy(to, from, count * sizeof(float));
    return to;
  }

 private:
  void grow(std::size_t bytes) {
    const std::size_t chunk = bytes > kChunk ? bytes : kChunk;
    chunks_.push_back(allocate(chunk));
    next_ = static_cast<char*>(chunks_.back().get());
    left_ = chunk;
  }

  static constexpr std::size_t kChunk = std::size_t{8} << 20;
  std::vector<std::unique_ptr<void, Free>> chunks_;
  char* next_ = nullptr;
  std::size_t left_ = 0;
};

// Rows of a matrix, `stride` numbers apart.
template <class T>
struct Panel {
  T* data = nullptr;
  long stride = 0;
  T* row(long index) const { return data + index * stride; }
  operator Panel<const T>() const { return {data, stride}; }
};

// The distance between rows of `columns` numbers of `size` bytes: whole registers, and never a multiple of 1 KB, which
// would crowd the rows of a tile into a few sets of the first-level cache.
constexpr int stride_of(int columns, int size) {
  const int stride = round_up(columns, 2 * kLanes);
  return stride * size % 1024 ? stride : stride + 64 / size;
}

// Cuts memory into pieces, and so finds out how much is needed: over no memory it only counts.
class Slab {
 public:
  explicit Slab(char* memory) : memory_(memory) {}

  template <class T>
  T* take(std::size_t count) {
    T* const piece = memory_ ? reinterpret_cast<T*>(memory_ + used_) : nullptr;
    used_ += (count * sizeof(T) + 63) / 64 * 64;
    return piece;
  }

  template <class T>
  Panel<T> panel(int rows, int columns) {
    const long stride = stride_of(columns, sizeof(T));
    return {take<T>(rows * stride), stride};
  }

  std::size_t used() const { return used_; }

 private:
  char* memory_;
  std::size_t used_ = 0;
};

// Whole registers, as many as hold `width` numbers.
template <class From, class To>
void copy(const From* from, To* to, int width) {
  for (int column = 0; column < width; column += kLanes) store(to + column, load(from + column));
}

template <class T>
void clear(T* to, int width) {
  for (int column = 0; column < width; column += kLanes) store(to + column, _mm512_setzero_ps());
}

}  // namespace swin
