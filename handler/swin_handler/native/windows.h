// Which tokens of a map make up each window.
#pragma once

#include <vector>

namespace swin {

struct Size {
  int height;
  int width;
  int count() const { return height * width; }
};

// The windows of a map that is rolled up and to the left by `shift`, then padded below and on the right to whole
// windows (arXiv 2103.14030, section 3.2). Rolling and cutting are arithmetic on addresses, done once.
class Windows {
 public:
  Windows() = default;
  Windows(Size map, Size window, Size shift)
      : tokens_(window.count()),
        rows_((map.height + window.height - 1) / window.height),
        columns_((map.width + window.width - 1) / window.width) {
    for (int index = 0; index < count(); ++index) {
      for (int token = 0; token < tokens_; ++token) {
        const int row = index / columns_ * window.height + token / window.width;
        const int column = index % columns_ * window.width + token % window.width;
        const bool padding = row >= map.height || column >= map.width;
        places_.push_back(padding ? -1
                                  : (row + shift.height) % map.height * map.width + (column + shift.width) % map.width);
      }
    }
  }

  int count() const { return rows_ * columns_; }
  int tokens() const { return tokens_; }  // of one window

  // Where in the map the window's token lies; -1 where it is padding.
  int place(int window, int token) const { return places_[window * tokens_ + token]; }

 private:
  int tokens_ = 0, rows_ = 0, columns_ = 0;
  std::vector<int> places_;
};

}  // namespace swin
