// A Swin block: attention within windows, then an MLP, each beside a shortcut.
//
// A group of windows goes through the whole block while it lies in the cache: its tokens are gathered from the map,
// taken through all steps, and scattered back to where they came from. Windows share no tokens, so groups need not wait
// for each other and the map is changed in place; nothing but the map goes through memory.
#pragma once

#include "attention.h"
#include "groups.h"
#include "int8.h"
#include "gelu.h"
#include "norm.h"
#include "numbers.h"
#include "profile.h"
#include "windows.h"

namespace swin {

struct BlockWeights {
  Size map, window, shift;
  int norm_first;    // V1: x + f(norm x); V2: x + norm(f x)
  const int* types;  // (windows,): which of the biases a window takes
  AttentionWeights attention;
  NormWeights norm1, norm2;
  LinearWeights qkv, proj, fc1, fc2;
};

template <class N>
class Block {
 public:
  using Value = typename N::Value;
  using Dot = typename N::LinearDot;
  using Read = Arithmetic<Dot>;
  using Heads = Attention<typename N::AttentionDot, N::precision>;

  // What a group of windows needs while it is on its way through the block.
  struct Panels {
    Panel<float> x;       // (rows, C): the shortcut
    Panel<float> y;       // (rows, C): what V2 normalises before it is added
    Panel<Value> a;       // (rows, C): what the next product reads
    Panel<Value> qkv;     // (rows, 3·C)
    Panel<Value> hidden;  // (rows, a slice of the MLP's width)
    typename Read::Scratch a_read, hidden_read;
  };

  Block(Arena& arena, const BlockWeights& from);

  int windows() const { return windows_.count(); }  // of one image
  int tokens() const { return windows_.tokens(); }  // of one window
  Panels panels(Slab& slab, int rows) const;
  const Heads& heads() const { return heads_; }

  // map: (batch, places, stride). Windows are counted through the batch.
  void run(Team& team, const Panels& panels, const typename Heads::Scratch& scratch, Profile& profile, Value* map,
           int first_window, int windows) const;

 private:
  // The MLP's hidden width is cut into slices, which become and vanish in the cache.
  struct Slice {
    Linear<Dot> up, down;
  };

  void cut_mlp(Arena& arena, const LinearWeights& fc1, const LinearWeights& fc2);
  void attend(Team& team, const Panels& panels, const typename Heads::Scratch& scratch, int first_window,
              int windows) const;
  void mlp(Team& team, const Panels& panels, Panel<float> to, int rows) const;
  Value* place(Value* map, int first_window, int row) const;
  void gather(const Value* token, const Panels& panels, int row) const;

  Size size_;
  Windows windows_;
  std::vector<int> types_;
  bool norm_first_;
  bool padded_;  // whether windows reach beyond the map
  int width_;    // C
  Heads heads_;
  Norm norm1_, norm2_;
  Linear<Dot> qkv_, proj_;
  std::vector<Slice> slices_;
  int slice_width_ = 0;
};

// To rows of a panel: takes its results from Linear::apply.
template <class T>
auto stored(Panel<T> to) {
  return [=](int row, int column, Lanes value) { store(to.row(row) + column, value); };
}

inline auto added(Panel<float> to) {
  return [=](int row, int column, Lanes value) {
    float* const at = to.row(row) + column;
    store(at, _mm512_add_ps(load(at), value));
  };
}

template <class N>
Block<N>::Block(Arena& arena, const BlockWeights& from)
    : size_(from.map),
      windows_(from.map, from.window, from.shift),
      types_(from.types, from.types + windows_.count()),
      norm_first_(from.norm_first),
      padded_(windows_.count() * windows_.tokens() > from.map.count()),
      width_(from.proj.outputs),
      heads_(arena, from.attention),
      norm1_(arena, from.norm1),
      norm2_(arena, from.norm2),
      qkv_(arena, from.qkv),
      proj_(arena, from.proj) {
  cut_mlp(arena, from.fc1, from.fc2);
}

constexpr int kSliceColumns = 1536;

template <class N>
void Block<N>::cut_mlp(Arena& arena, const LinearWeights& fc1, const LinearWeights& fc2) {
  const int hidden = fc1.outputs, width = fc1.inputs;
  slice_width_ = std::min(hidden, kSliceColumns);
  for (int begin = 0; begin < hidden; begin += slice_width_) {
    const int part = std::min(slice_width_, hidden - begin);
    const float* const bias = fc1.bias ? fc1.bias + begin : nullptr;
    // fc2's columns begin … begin + part, as a matrix of its own.
    std::vector<float> columns(static_cast<std::size_t>(fc2.outputs) * part);
    for (int output = 0; output < fc2.outputs; ++output) {
      std::copy_n(fc2.weight + static_cast<long>(output) * hidden + begin, part, &columns[output * (long)part]);
    }
    slices_.push_back({Linear<Dot>(arena, {fc1.weight + static_cast<long>(begin) * width, bias, part, width}),
                       Linear<Dot>(arena, {columns.data(), begin ? nullptr : fc2.bias, fc2.outputs, part}, Source::kGelu)});
  }
}

template <class N>
typename Block<N>::Panels Block<N>::panels(Slab& slab, int rows) const {
  Panels panels;
  panels.x = slab.panel<float>(rows, width_);
  if (!norm_first_) panels.y = slab.panel<float>(rows, width_);
  panels.a = slab.panel<Value>(rows, std::max(width_, heads_.width()));
  panels.qkv = slab.panel<Value>(rows, 3 * heads_.width());
  panels.hidden = slab.panel<Value>(rows, slice_width_);
  panels.a_read = Read::scratch(slab, rows, std::max(width_, heads_.width()));
  panels.hidden_read = Read::scratch(slab, rows, slice_width_);
  return panels;
}

template <class N>
typename N::Value* Block<N>::place(Value* map, int first_window, int row) const {
  const int window = first_window + row / windows_.tokens();
  const int place = windows_.place(window % windows_.count(), row % windows_.tokens());
  if (place < 0) return nullptr;
  const long token = static_cast<long>(window / windows_.count()) * size_.count() + place;
  return map + token * round_up(width_, kLanes);
}

template <class N>
void Block<N>::run(Team& team, const Panels& p, const typename Heads::Scratch& scratch, Profile& profile, Value* map,
                   int first_window, int windows) const {
  const int rows = windows * windows_.tokens();
  const auto normalise = [&](const Norm& norm, int top, int count) {
    const Panel<Value> to{p.a.row(top), p.a.stride};
    norm.apply({p.x.row(top), p.x.stride}, count, stored(to));
  };
  const auto add_normalised = [&](const Norm& norm, int top, int count) {
    norm.apply({p.y.row(top), p.y.stride}, count, added({p.x.row(top), p.x.stride}));
  };

  Stopwatch watch(profile, kQkv);
  share_rows(team, rows, [&](int top, int count) {
    for (int row = top; row < top + count; ++row) gather(place(map, first_window, row), p, row);
    if (!norm_first_) return;
    normalise(norm1_, top, count);
    if (!padded_) return;
    for (int row = top; row < top + count; ++row) {
      if (place(map, first_window, row) == nullptr) clear(p.a.row(row), width_);  // padding is zeros after the norm
    }
  });
  qkv_.apply(team, Read::read(team, p.a_read, p.a, rows, width_), rows, stored(p.qkv));

  watch.next(kAttention);
  attend(team, p, scratch, first_window, windows);

  watch.next(kProjection);
  const Panel<float> sum = norm_first_ ? p.x : p.y;
  proj_.apply(team, Read::read(team, p.a_read, p.a, rows, heads_.width()), rows, added(sum));

  watch.next(kMlp);
  share_rows(team, rows, [&](int top, int count) {
    if (norm_first_) return normalise(norm2_, top, count);
    add_normalised(norm1_, top, count);
    for (int row = top; row < top + count; ++row) {
      copy(p.x.row(row), p.a.row(row), width_);
      clear(p.y.row(row), width_);
    }
  });
  mlp(team, p, sum, rows);
  share_rows(team, rows, [&](int top, int count) {
    if (!norm_first_) add_normalised(norm2_, top, count);
    for (int row = top; row < top + count; ++row) {
      if (Value* const to = place(map, first_window, row)) copy(p.x.row(row), to, width_);
    }
  });
}

// A token, or null for padding, into the panels.
template <class N>
void Block<N>::gather(const Value* token, const Panels& p, int row) const {
  token ? copy(token, p.x.row(row), width_) : clear(p.x.row(row), width_);
  if (norm_first_) return;
  clear(p.y.row(row), width_);
  token ? copy(token, p.a.row(row), width_) : clear(p.a.row(row), width_);
}

template <class N>
void Block<N>::attend(Team& team, const Panels& p, const typename Heads::Scratch& scratch, int first_window,
                      int windows) const {
  // The windows of a group one after the other, so that those of one type find the head's bias in the cache.
  team.share(heads_.count() * windows, [&](int item) {
    const int head = item / windows, window = item % windows;
    const int row = window * windows_.tokens();
    heads_.apply(scratch, {p.qkv.row(row), p.qkv.stride}, types_[(first_window + window) % windows_.count()], head,
                 {p.a.row(row), p.a.stride});
  });
}

template <class N>
void Block<N>::mlp(Team& team, const Panels& p, Panel<float> to, int rows) const {
  const Panel<Value> hidden = p.hidden;
  const auto in = Read::read(team, p.a_read, p.a, rows, width_);
  for (const Slice& slice : slices_) {
    slice.up.apply(team, in, rows, [=](int row, int column, Lanes value) {
      store(hidden.row(row) + column, gelu<N::precision>(value));
    });
    const auto read = Read::read(team, p.hidden_read, hidden, rows, slice.up.outputs(), Source::kGelu);
    slice.down.apply(team, read, rows, added(to));
  }
}

}  // namespace swin
