// Pixels -> tokens: one product of each patch with the embedding's weights, which normalise the pixels too.
#pragma once

#include "block.h"

namespace swin {

struct EmbedWeights {
  Size image, patch, map;   // map: of patches; what is left of the image is not read
  LinearWeights linear;     // inputs: a patch's pixels as (row, column, channel)
  int normalised;
  NormWeights norm;
  const float* position;    // (map, C), or null
};

constexpr int kChannels = 3;

template <class N>
class Embed {
 public:
  using Value = typename N::Value;

  struct Panels {
    Panel<float> pixels, tokens;
  };

  Embed(Arena& arena, const EmbedWeights& from)
      : image_(from.image),
        patch_(from.patch),
        map_(from.map),
        linear_(arena, from.linear),
        normalised_(from.normalised) {
    const int width = from.linear.outputs;
    if (normalised_) norm_ = Norm(arena, from.norm);
    if (from.position == nullptr) return;
    const long stride = round_up(width, kLanes);
    float* const rows = arena.take<float>(map_.count() * stride);
    for (int row = 0; row < map_.count(); ++row) {
      std::copy_n(from.position + static_cast<long>(row) * width, width, rows + row * stride);
    }
    position_ = rows;
  }

  Panels panels(Slab& slab) const {
    return {slab.panel<float>(map_.width, patch_.count() * kChannels + kLanes),
            slab.panel<float>(map_.width, linear_.outputs())};
  }

  // One row of patches at a time. to: (batch, map, stride).
  void run(Team& team, const Panels& panels, Profile& profile, const std::uint8_t* pixels, int batch, Value* to) const {
    const Stopwatch watch(profile, kEmbed);
    const long image = static_cast<long>(image_.count()) * kChannels;
    const int stride = round_up(linear_.outputs(), kLanes);
    team.share(batch * map_.height, [&](int item) {
      const int row = item % map_.height;
      unpack(pixels + item / map_.height * image + static_cast<long>(row) * patch_.height * image_.width * kChannels,
             panels.pixels);
      Team alone;
      linear_.apply(alone, {{panels.pixels.data, panels.pixels.stride}}, map_.width, stored(panels.tokens));
      const Split parts(map_.width, kTileRows);
      for (int part = 0; part < parts.parts; ++part) {
        const int left = parts.begin(part);
        const long place = static_cast<long>(row) * map_.width + left;
        finish({panels.tokens.row(left), panels.tokens.stride}, parts.size(part), place,
               {to + (static_cast<long>(item) * map_.width + left) * stride, stride});
      }
    });
  }

 private:
  // The strip of an image that one row of patches covers -> float32 (patches, pixels of one).
  void unpack(const std::uint8_t* strip, Panel<float> to) const {
    const int length = patch_.width * kChannels;
    for (int row = 0; row < patch_.height; ++row) {
      for (int column = 0; column < map_.width; ++column) {
        const std::uint8_t* const from = strip + (static_cast<long>(row) * image_.width) * kChannels + column * length;
        float* const out = to.row(column) + row * length;
        for (int at = 0; at < length; at += kLanes) {
          const __m128i bytes = _mm_maskz_loadu_epi8(first(length - at), from + at);
          store(out + at, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)));  // the next row overwrites what is too much
        }
      }
    }
  }

  // At most 8 tokens, the first of them at `place` of the map.
  void finish(Panel<const float> tokens, int count, long place, Panel<Value> to) const {
    const int width = linear_.outputs();
    const Panel<const float> position{position_ ? position_ + place * to.stride : nullptr, to.stride};
    const auto put = [=](int row, int column, Lanes value) {
      store(to.row(row) + column,
            position.data ? _mm512_add_ps(value, load(position.row(row) + column)) : value);
    };
    if (normalised_) return norm_.apply(tokens, count, put);
    for (int row = 0; row < count; ++row) {
      for (int column = 0; column < width; column += kLanes) put(row, column, load(tokens.row(row) + column));
    }
  }

  Size image_, patch_, map_;
  Linear<Float32Dot> linear_;
  bool normalised_;
  Norm norm_;
  const float* position_ = nullptr;
};

}  // namespace swin
