// Tokens -> features (normalised), embedding (their mean) and logits.
#pragma once

#include "block.h"

namespace swin {

struct HeadWeights {
  NormWeights norm;
  const LinearWeights* linear;  // null: a model without a head
};

template <class N>
class Head {
 public:
  using Value = typename N::Value;
  using Dot = typename N::AttentionDot;  // a thousandth of the work; int8 would cost accuracy for nothing

  struct Panels {
    Panel<Value> embeddings;  // (batch, C)
    Panel<float> tokens;      // (9, C): some tokens, and the sum of all
  };

  Head(Arena& arena, const HeadWeights& from) : norm_(arena, from.norm), exists_(from.linear != nullptr) {
    if (exists_) linear_ = Linear<Dot>(arena, *from.linear);
  }

  Panels panels(Slab& slab, int batch) const {
    return {slab.panel<Value>(batch, norm_.width()), slab.panel<float>(kTileRows + 1, norm_.width())};
  }

  // map: (batch, places, stride). logits: (batch, classes); embeddings: (batch, C); features: (batch, places, C), null
  // where nobody asks for them.
  void run(Team& team, const Panels& shared, const Panels& own, Profile& profile, const Value* map, int places,
           int batch, float* logits, Value* embeddings, Value* features) const {
    const Stopwatch watch(profile, kHead);
    const int width = norm_.width();
    team.share(batch, [&](int image) {
      Value* const out = features ? features + static_cast<long>(image) * places * width : nullptr;
      pool(map + static_cast<long>(image) * places * round_up(width, kLanes), places, own.tokens,
           shared.embeddings.row(image), out);
      std::memcpy(embeddings + static_cast<long>(image) * width, shared.embeddings.row(image), width * sizeof(Value));
    });
    if (!exists_) return;
    const int classes = linear_.outputs();
    linear_.apply(team, {{shared.embeddings.data, shared.embeddings.stride}}, batch, [=](int row, int column, Lanes value) {
      _mm512_mask_storeu_ps(logits + static_cast<long>(row) * classes + column, first(classes - column), value);
    });
  }

 private:
  // One image's tokens -> its normalised features, if asked for, and their mean.
  void pool(const Value* tokens, int places, Panel<float> scratch, Value* mean, Value* features) const {
    const int width = norm_.width();
    float* const sum = scratch.row(kTileRows);
    clear(sum, width);
    const Split parts(places, kTileRows);
    for (int part = 0; part < parts.parts; ++part) {
      const int count = parts.size(part);
      const long top = parts.begin(part);
      for (int row = 0; row < count; ++row) copy(tokens + (top + row) * round_up(width, kLanes), scratch.row(row), width);
      norm_.apply({scratch.data, scratch.stride}, count, [=](int row, int column, Lanes value) {
        store(sum + column, _mm512_add_ps(load(sum + column), value));
        store(scratch.row(row) + column, value);
      });
      for (int row = 0; features && row < count; ++row) write(scratch.row(row), features + (top + row) * width);
    }
    for (int column = 0; column < width; column += kLanes) {
      store(mean + column, _mm512_div_ps(load(sum + column), lanes(static_cast<float>(places))));
    }
  }

  // Without a stride, so that no more than the width may be written.
  void write(const float* row, Value* to) const {
    alignas(64) Value rounded[kLanes];
    for (int column = 0; column < norm_.width(); column += kLanes) {
      store(rounded, load(row + column));
      std::memcpy(to + column, rounded, std::min(kLanes, norm_.width() - column) * sizeof(Value));
    }
  }

  Norm norm_;
  bool exists_;
  Linear<Dot> linear_;
};

}  // namespace swin
