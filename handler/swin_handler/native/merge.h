// Each two by two tokens become one, twice as wide: V1 norm, then linear layer; V2 the other way round.
#pragma once

#include "block.h"

namespace swin {

struct MergeWeights {
  Size map;  // before
  int norm_first;
  NormWeights norm;
  LinearWeights reduction;
};

template <class N>
class Merge {
 public:
  using Value = typename N::Value;
  using Dot = typename N::LinearDot;

  struct Panels {
    Panel<float> x;  // (rows, 4·C, then C' of what comes out)
    Panel<Value> a;  // (rows, 4·C)
    typename Arithmetic<Dot>::Scratch a_read;
  };

  Merge(Arena& arena, const MergeWeights& from)
      : map_(from.map),
        merged_{(from.map.height + 1) / 2, (from.map.width + 1) / 2},
        norm_first_(from.norm_first),
        norm_(arena, from.norm),
        reduction_(arena, from.reduction),
        width_(from.reduction.inputs / 4) {}

  int tokens() const { return merged_.count(); }  // of one image, merged

  Panels panels(Slab& slab, int rows) const {
    const int widest = std::max(4 * width_ + kLanes, reduction_.outputs());
    return {slab.panel<float>(rows, widest), slab.panel<Value>(rows, 4 * width_ + kLanes),
            Arithmetic<Dot>::scratch(slab, rows, 4 * width_)};
  }

  // from: (batch, map, stride), to: (batch, merged map, stride). Tokens are counted through the batch.
  void run(Team& team, const Panels& p, Profile& profile, const Value* from, Value* to, int first_token,
           int tokens) const {
    const Stopwatch watch(profile, kMerge);
    share_rows(team, tokens, [&](int top, int count) {
      for (int row = top; row < top + count; ++row) gather(from, first_token + row, p.x.row(row));
      const Panel<Value> out{p.a.row(top), p.a.stride};
      if (norm_first_) return norm_.apply({p.x.row(top), p.x.stride}, count, stored(out));
      for (int row = 0; row < count; ++row) copy(p.x.row(top + row), out.row(row), 4 * width_);
    });
    reduction_.apply(team, Arithmetic<Dot>::read(team, p.a_read, p.a, tokens, 4 * width_), tokens, stored(p.x));
    const int width = reduction_.outputs(), stride = round_up(width, kLanes);
    share_rows(team, tokens, [&](int top, int count) {
      const Panel<Value> out{to + static_cast<long>(first_token + top) * stride, stride};
      if (!norm_first_) return norm_.apply({p.x.row(top), p.x.stride}, count, stored(out));
      for (int row = 0; row < count; ++row) copy(p.x.row(top + row), out.row(row), width);
    });
  }

 private:
  // Four tokens side by side, in the order of the reference's weights; beyond the map's edge they are zeros.
  void gather(const Value* from, int token, float* to) const {
    const int image = token / merged_.count(), place = token % merged_.count();
    const int row = 2 * (place / merged_.width), column = 2 * (place % merged_.width);
    for (int part = 0; part < 4; ++part) {
      const int y = row + part % 2, x = column + part / 2;
      const bool exists = y < map_.height && x < map_.width;
      const long index = static_cast<long>(image) * map_.count() + (exists ? y * map_.width + x : 0);
      const Value* const source = from + index * round_up(width_, kLanes);
      for (int at = 0; at < width_; at += kLanes) {
        store(to + part * width_ + at, exists ? load(source + at) : _mm512_setzero_ps());
      }
    }
  }

  Size map_, merged_;
  bool norm_first_;
  Norm norm_;
  Linear<Dot> reduction_;
  int width_;  // C
};

}  // namespace swin
