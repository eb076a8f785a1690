// A length cut into parts, and ranges of it.
#pragma once

namespace swin {

// As few parts of at most `largest` as will do, whose sizes differ by one at most: 98 rows are seven tiles of 8 and six
// of 7, not twelve of 8 and one of 2 that would leave the arithmetic pipes half idle.
struct Split {
  int length = 0;
  int parts = 0;

  Split() = default;
  Split(int length, int largest) : length(length), parts((length + largest - 1) / largest) {}

  int begin(int part) const { return static_cast<int>(static_cast<long>(part) * length / parts); }
  int size(int part) const { return begin(part + 1) - begin(part); }
};

}  // namespace swin
