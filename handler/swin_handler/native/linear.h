// A linear layer: rows of a panel times packed weights, plus bias.
#pragma once

#include <algorithm>

#include "memory.h"
#include "split.h"
#include "team.h"
#include "tile.h"

namespace swin {

// (outputs, inputs) float32, row-major, as nn.Linear has it; without a bias where that is null.
struct LinearWeights {
  const float* weight;
  const float* bias;
  int outputs;
  int inputs;
};

// What a layer's inputs are, as far as rounding them to few bits depends on it.
enum class Source { kAny, kGelu };

// work(first row, rows) for all rows, at most 8 at a time.
template <class Work>
void share_rows(Team& team, int rows, const Work& work) {
  const Split parts(rows, kTileRows);
  team.share(parts.parts, [&](int part) { work(parts.begin(part), parts.size(part)); });
}

// Weights laid out as tiles read them, [column block][step][vector][lane][kDepth], so that a product reads each block
// from one end to the other. Outputs are padded to whole registers and inputs to whole steps with zeros.
template <class Dot>
class PackedWeights {
 public:
  using Weight = typename Dot::Weight;

  PackedWeights() = default;
  PackedWeights(Arena& arena, int outputs, int inputs)
      : columns_(round_up(outputs, kLanes) / kLanes, kTileVectors),
        steps_(round_up(inputs, Dot::kDepth) / Dot::kDepth),
        weights_(arena.take<Weight>(static_cast<std::size_t>(columns_.length) * kLanes * steps_ * Dot::kDepth)) {}

  int steps() const { return steps_; }
  const Split& columns() const { return columns_; }
  const Weight* block(int index) const { return weights_ + columns_.begin(index) * block_numbers(); }

  // number(output, input) for all of them, padding excepted.
  template <class Number>
  void fill(int outputs, int inputs, const Number& number) {
    Weight* to = weights_;
    for (int part = 0; part < columns_.parts; ++part) {
      const int left = columns_.begin(part) * kLanes, width = columns_.size(part) * kLanes;
      for (int row = 0; row < steps_ * Dot::kDepth; row += Dot::kDepth) {
        for (int output = left; output < left + width; ++output) {
          for (int input = row; input < row + Dot::kDepth; ++input, ++to) {
            if (output < outputs && input < inputs) *to = number(output, input);
          }
        }
      }
    }
  }

 private:
  long block_numbers() const { return static_cast<long>(steps_) * kLanes * Dot::kDepth; }  // of one vector's width

  Split columns_;  // in registers
  int steps_ = 0;
  Weight* weights_ = nullptr;
};

// What a linear layer reads of activations in `Value`, and how its sums begin and end. In float32 and bfloat16: the
// activations as they are, and the bias.
template <class Dot>
class Arithmetic {
 public:
  struct Operand {
    Panel<const typename Dot::Value> panel;
  };
  struct Scratch {};

  static Scratch scratch(Slab&, int /*rows*/, int /*columns*/) { return {}; }

  static Operand read(Team&, Scratch, Panel<const typename Dot::Value> panel, int /*rows*/, int /*columns*/,
                      Source = Source::kAny) {
    return {panel};
  }

  Arithmetic() = default;
  Arithmetic(Arena& arena, const LinearWeights& from, Source, PackedWeights<Dot>& packed)
      : bias_(arena.copy(from.bias, from.bias ? from.outputs : 0, from.outputs)) {
    packed.fill(from.outputs, from.inputs, [&](int output, int input) {
      return rounded<typename Dot::Weight>(from.weight[static_cast<long>(output) * from.inputs + input]);
    });
  }

  Lanes begin(int column) const { return load(bias_ + column); }
  static Lanes end(const Operand&, int /*row*/, int /*column*/, Lanes sum) { return sum; }

 private:
  const float* bias_ = nullptr;
};

template <class Dot>
class Linear {
 public:
  using Operand = typename Arithmetic<Dot>::Operand;

  Linear() = default;
  Linear(Arena& arena, const LinearWeights& from, Source source = Source::kAny)
      : outputs_(from.outputs), packed_(arena, from.outputs, from.inputs), arithmetic_(arena, from, source, packed_) {}

  int outputs() const { return outputs_; }  // as many as the layer has, without padding

  // each(row, column, value): sixteen neighbouring outputs at a time, `value` float32, padding included.
  template <class Each>
  void apply(Team& team, const Operand& in, int rows, Each each) const;

 private:
  template <int kVectors, class Each>
  [[gnu::noinline]] void multiply(Operand in, int block, int next, int first_row, int rows, Each each) const;

  int outputs_ = 0;
  PackedWeights<Dot> packed_;
  Arithmetic<Dot> arithmetic_;
};

// How many rows a thread takes at a time: all of them when it is alone, since then each block of weights comes into its
// cache once; fewer when there would not be enough parts for a team.
inline Split strips(const Team& team, int rows, int blocks) {
  const int wanted = team.size() == 1 ? 1 : std::max(1, 4 * team.size() / blocks);
  return Split(rows, std::max(kTileRows, round_up((rows + wanted - 1) / wanted, kTileRows)));
}

template <class Dot>
template <class Each>
void Linear<Dot>::apply(Team& team, const Operand& in, int rows, Each each) const {
  const int blocks = packed_.columns().parts;
  const Split parts = strips(team, rows, blocks);
  team.share(blocks * parts.parts, [&](int item) {
    const int block = item / parts.parts, part = item % parts.parts;
    // What this thread is likely to take next.
    const int next = std::min((item + team.size()) / parts.parts, blocks - 1);
    switch (packed_.columns().size(block)) {
      case 3: return multiply<3>(in, block, next, parts.begin(part), parts.size(part), each);
      case 2: return multiply<2>(in, block, next, parts.begin(part), parts.size(part), each);
      case 1: return multiply<1>(in, block, next, parts.begin(part), parts.size(part), each);
    }
  });
}

template <class Dot>
template <int kVectors, class Each>
void Linear<Dot>::multiply(Operand in, int block, int next, int first_row, int rows, Each each) const {
  const int column = packed_.columns().begin(block) * kLanes, steps = packed_.steps();
  const Arithmetic<Dot> arithmetic = arithmetic_;
  const Split tiles(rows, kTileRows);
  // Weights that are not in the second-level cache would stop the first tile of each block at every line. So all tiles
  // of the block before call for them, each for its share.
  const char* const ahead = reinterpret_cast<const char*>(packed_.block(next));
  const long distance = (64 * kVectors + tiles.parts - 1) / tiles.parts;
  for (int index = 0; index < tiles.parts; ++index) {
    const int top = first_row + tiles.begin(index);
    tile<Dot, kVectors>(
        tiles.size(index),
        {in.panel.row(top), in.panel.stride, packed_.block(block), steps, ahead + index * steps * distance, distance},
        [=](int, int vector) { return arithmetic.begin(column + vector * kLanes); },
        [=](int row, int vector, typename Dot::Sum sum) {
          const int at = column + vector * kLanes;
          each(top + row, at, arithmetic.end(in, top + row, at, sum));
        });
  }
}

}  // namespace swin
