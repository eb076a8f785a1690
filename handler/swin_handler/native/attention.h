// Attention of one head within one window: softmax(q·kᵀ + bias)·v.
//
// A window's keys and values are packed once. Then up to eight queries at a time meet all keys; their scores stay in
// the first-level cache until the softmax and the product with the values are done. Exponentials are powers of two:
// log2(e) is part of q (or of the cosines' scale) and of the bias.
#pragma once

#include <cmath>

#include "linear.h"
#include "transpose.h"

namespace swin {

struct AttentionWeights {
  const float* bias;   // (types, heads, tokens, tokens): relative position bias and shift mask
  const float* scale;  // (heads,), of the cosines of q and k (V2); null where q is scaled already (V1)
  int types;
  int heads;
  int depth;   // of a head, a multiple of 16
  int tokens;  // of a window
};

constexpr float kLog2E = 1.44269504f;
// Weights down to 2^-126 are ordinary numbers: of a sum of 2^-80 nothing is lost that could be seen.
constexpr float kLeastSum = 0x1p-80f;

template <class Dot, Precision precision>
class Attention {
 public:
  using Value = typename Dot::Value;

  // What one head of one window needs, one for each thread.
  struct Scratch {
    Value *queries, *keys, *packed_keys, *packed_values, *weights;
    float *scores, *inverse;
  };

  Attention() = default;
  Attention(Arena& arena, const AttentionWeights& from);

  int count() const { return heads_; }
  int width() const { return heads_ * depth_; }  // of q, k, v and the output
  Scratch scratch(Slab& slab) const;

  // qkv: (tokens, 3·width) as (q, k, v) of (heads, depth). Writes the head's columns of `out` (tokens, width).
  void apply(const Scratch& scratch, Panel<const Value> qkv, int type, int head, Panel<Value> out) const;

 private:
  static constexpr int kWord = Dot::kDepth;  // numbers in 32 bits

  // Queries that go through together: as many as have 16 KB of scores, which leaves the rest of the first-level cache to
  // the keys, values and weights.
  int block_rows() const { return std::max(1, 4096 / kLanes / key_vectors_.length / kTileRows) * kTileRows; }
  int value_steps() const { return round_up(tokens_, kWord) / kWord; }
  const float* bias(int type, int head) const {
    return bias_ + static_cast<long>(type * heads_ + head) * tokens_ * key_vectors_.length * kLanes;
  }
  void pack_keys(Panel<const Value> keys, Value* packed) const;
  void pack_values(Panel<const Value> values, Value* packed) const;
  void score(const Value* queries, long stride, int rows, const Value* packed_keys, const float* bias,
             float* scores) const;
  void soften(const float* scores, int rows, Value* weights, float* inverse) const;
  Lanes raise(const float* scores, float reference, Value* weights) const;
  float largest(const float* scores, int rows) const;
  void mix(const Value* weights, int rows, const Value* packed_values, const float* inverse, Panel<Value> out) const;
  void normalise(Panel<const Value> from, float scale, Value* to) const;

  int heads_ = 0, depth_ = 0, tokens_ = 0;
  Split key_vectors_, value_vectors_;  // registers that hold a score of every key, a value of every channel
  const float* bias_ = nullptr;        // (types, heads, tokens, whole registers of keys)
  const float* scale_ = nullptr;
};

template <class Dot, Precision precision>
Attention<Dot, precision>::Attention(Arena& arena, const AttentionWeights& from)
    : heads_(from.heads),
      depth_(from.depth),
      tokens_(from.tokens),
      key_vectors_(round_up(from.tokens, kLanes) / kLanes, kTileVectors),
      value_vectors_(from.depth / kLanes, kTileVectors) {
  const int keys = key_vectors_.length * kLanes;
  const long rows = static_cast<long>(from.types) * heads_ * tokens_;
  float* const bias = arena.take<float>(rows * keys);
  for (long row = 0; row < rows; ++row) {
    for (int key = 0; key < keys; ++key) {
      // A key that is only padding has no weight: 2 to this is 0.
      bias[row * keys + key] = key < tokens_ ? from.bias[row * tokens_ + key] * kLog2E : -1e30f;
    }
  }
  bias_ = bias;
  if (from.scale) scale_ = arena.copy(from.scale, heads_, heads_);
}

template <class Dot, Precision precision>
typename Attention<Dot, precision>::Scratch Attention<Dot, precision>::scratch(Slab& slab) const {
  const std::size_t keys = key_vectors_.length * kLanes, tokens = round_up(tokens_, kLanes);
  Scratch scratch;
  scratch.queries = slab.take<Value>(tokens * depth_);
  scratch.keys = slab.take<Value>(tokens * depth_);
  scratch.packed_keys = slab.take<Value>(keys * depth_);
  scratch.packed_values = slab.take<Value>(tokens * depth_);
  scratch.weights = slab.take<Value>(block_rows() * keys);
  scratch.scores = slab.take<float>(block_rows() * keys);
  scratch.inverse = slab.take<float>(block_rows() / kTileRows * kLanes);
  return scratch;
}

template <class Dot, Precision precision>
void Attention<Dot, precision>::apply(const Scratch& scratch, Panel<const Value> qkv, int type, int head,
                                      Panel<Value> out) const {
  Panel<const Value> q{qkv.data + head * depth_, qkv.stride};
  Panel<const Value> k{q.data + width(), qkv.stride};
  const Panel<const Value> v{k.data + width(), qkv.stride};
  if (scale_) {
    normalise(q, scale_[head] * kLog2E, scratch.queries);
    normalise(k, 1.0f, scratch.keys);
    q = {scratch.queries, depth_};
    k = {scratch.keys, depth_};
  }
  pack_keys(k, scratch.packed_keys);
  pack_values(v, scratch.packed_values);
  const long keys = key_vectors_.length * kLanes;
  const float* const from = bias(type, head);
  const Split blocks(tokens_, block_rows());
  for (int block = 0; block < blocks.parts; ++block) {
    // Step by step for many tiles, not tile by tile: what a tile has to wait for, others fill.
    const int top = blocks.begin(block);
    const Split tiles(blocks.size(block), kTileRows);
    for (int tile = 0; tile < tiles.parts; ++tile) {
      const int row = top + tiles.begin(tile);
      score(q.row(row), q.stride, tiles.size(tile), scratch.packed_keys, from + row * keys,
            scratch.scores + tiles.begin(tile) * keys);
    }
    for (int tile = 0; tile < tiles.parts; ++tile) {
      const long at = tiles.begin(tile) * keys;
      soften(scratch.scores + at, tiles.size(tile), scratch.weights + at, scratch.inverse + tile * kLanes);
    }
    for (int tile = 0; tile < tiles.parts; ++tile) {
      const int row = top + tiles.begin(tile);
      mix(scratch.weights + tiles.begin(tile) * keys, tiles.size(tile), scratch.packed_values,
          scratch.inverse + tile * kLanes, {out.row(row) + head * depth_, out.stride});
    }
  }
}

// To B of the product with queries: [part of the keys][step along the depth][vector][key][kWord].
template <class Dot, Precision precision>
void Attention<Dot, precision>::pack_keys(Panel<const Value> keys, Value* packed) const {
  const int steps = depth_ / kWord;
  for (int part = 0; part < key_vectors_.parts; ++part) {
    const int left = key_vectors_.begin(part), vectors = key_vectors_.size(part);
    for (int vector = 0; vector < vectors; ++vector) {
      const int key = (left + vector) * kLanes;
      for (int step = 0; step < steps; step += kLanes) {
        const __mmask16 words = first(steps - step);
        __m512i rows[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) {
          const bool exists = key + lane < tokens_;
          rows[lane] = _mm512_maskz_loadu_epi32(exists ? words : 0, keys.row(exists ? key + lane : 0) + step * kWord);
        }
        transpose(rows);
        Value* const to = packed + static_cast<long>(left * steps + step * vectors + vector) * kLanes * kWord;
        for (int word = 0; word < kLanes && step + word < steps; ++word) {
          _mm512_store_si512(to + static_cast<long>(word) * vectors * kLanes * kWord, rows[word]);
        }
      }
    }
  }
}

template <class Dot, Precision precision>
void Attention<Dot, precision>::score(const Value* queries, long stride, int rows, const Value* packed_keys,
                                      const float* bias, float* scores) const {
  const int keys = key_vectors_.length * kLanes, steps = depth_ / kWord;
  for (int part = 0; part < key_vectors_.parts; ++part) {
    const int left = key_vectors_.begin(part) * kLanes;
    const Value* const block = packed_keys + static_cast<long>(left) * depth_;
    const float* const from = bias + left;
    float* const to = scores + left;
    const auto start = [=](int row, int vector) { return load(from + row * keys + vector * kLanes); };
    const auto finish = [=](int row, int vector, Lanes sum) { store(to + row * keys + vector * kLanes, sum); };
    const Factors<Dot> factors{queries, stride, block, steps, reinterpret_cast<const char*>(block), 0};
    switch (key_vectors_.size(part)) {
      case 3: tile<Dot, 3>(rows, factors, start, finish); break;
      case 2: tile<Dot, 2>(rows, factors, start, finish); break;
      case 1: tile<Dot, 1>(rows, factors, start, finish); break;
    }
  }
}

template <class Dot, Precision precision>
float Attention<Dot, precision>::largest(const float* scores, int rows) const {
  const int count = rows * key_vectors_.length * kLanes;
  Lanes most[2] = {load(scores), load(scores)};
  int at = 0;
  for (; at + 2 * kLanes <= count; at += 2 * kLanes) {
    most[0] = _mm512_max_ps(most[0], load(scores + at));
    most[1] = _mm512_max_ps(most[1], load(scores + at + kLanes));
  }
  if (at < count) most[0] = _mm512_max_ps(most[0], load(scores + at));
  return _mm512_reduce_max_ps(_mm512_max_ps(most[0], most[1]));
}

// Writes 2^(score - reference) of one row; returns their sum, still spread over the lanes.
template <class Dot, Precision precision>
Lanes Attention<Dot, precision>::raise(const float* scores, float reference, Value* weights) const {
  const int keys = key_vectors_.length * kLanes;
  const auto weight = [=](int key) { return exp2<precision>(_mm512_sub_ps(load(scores + key), lanes(reference))); };
  Lanes sum = _mm512_setzero_ps();
  int key = 0;
  for (; key + 2 * kLanes <= keys; key += 2 * kLanes) {
    const Lanes low = weight(key), high = weight(key + kLanes);
    sum = _mm512_add_ps(sum, _mm512_add_ps(low, high));
    store(weights + key, low, high);
  }
  if (key == keys) return sum;
  const Lanes last = weight(key);
  store(weights + key, last);
  return _mm512_add_ps(sum, last);
}

// Softmax without the division: the weights' inverse sums are for `mix`. Any reference near a row's largest score will
// do, and one for all rows is found much faster than one for each. A row far below it, which would lose small weights,
// gets its own.
template <class Dot, Precision precision>
void Attention<Dot, precision>::soften(const float* scores, int rows, Value* weights, float* inverse) const {
  const int keys = key_vectors_.length * kLanes;
  const float reference = largest(scores, rows);
  Lanes sums[kTileRows] = {};
  for (int row = 0; row < rows; ++row) sums[row] = raise(scores + row * keys, reference, weights + row * keys);
  const Lanes totals = summed(sums);
  const __mmask16 lost = _mm512_cmp_ps_mask(totals, lanes(kLeastSum), _CMP_LT_OQ) & ((1 << rows) - 1);
  store(inverse, _mm512_div_ps(lanes(1.0f), totals));
  for (int row = 0; lost >> row; ++row) {
    if (!(lost >> row & 1)) continue;
    const float* const own = scores + row * keys;
    inverse[row] = 1.0f / _mm512_reduce_add_ps(raise(own, largest(own, 1), weights + row * keys));
  }
}

template <class Dot, Precision precision>
void Attention<Dot, precision>::mix(const Value* weights, int rows, const Value* packed_values, const float* inverse,
                                    Panel<Value> out) const {
  const int keys = key_vectors_.length * kLanes, steps = value_steps();
  for (int part = 0; part < value_vectors_.parts; ++part) {
    const int left = value_vectors_.begin(part) * kLanes;
    const Value* const block = packed_values + static_cast<long>(left) * steps * kWord;
    const auto start = [=](int, int) { return _mm512_setzero_ps(); };
    const auto finish = [=](int row, int vector, Lanes sum) {
      store(out.row(row) + left + vector * kLanes, _mm512_mul_ps(sum, lanes(inverse[row])));
    };
    const Factors<Dot> factors{weights, keys, block, steps, reinterpret_cast<const char*>(block), 0};
    switch (value_vectors_.size(part)) {
      case 3: tile<Dot, 3>(rows, factors, start, finish); break;
      case 2: tile<Dot, 2>(rows, factors, start, finish); break;
      case 1: tile<Dot, 1>(rows, factors, start, finish); break;
    }
  }
}

// Each token's vector made as long as `scale` (arXiv 2111.09883, equation 2); in float32, rounded once.
template <class Dot, Precision precision>
void Attention<Dot, precision>::normalise(Panel<const Value> from, float scale, Value* to) const {
  for (int token = 0; token < tokens_; ++token) {
    const Value* const row = from.row(token);
    Lanes squares = _mm512_setzero_ps();
    for (int at = 0; at < depth_; at += kLanes) {
      const Lanes x = load(row + at);
      squares = _mm512_fmadd_ps(x, x, squares);
    }
    const float length = std::max(std::sqrt(_mm512_reduce_add_ps(squares)), 1e-12f);
    const Lanes factor = lanes(scale / length);
    for (int at = 0; at < depth_; at += kLanes) store(to + token * depth_ + at, _mm512_mul_ps(load(row + at), factor));
  }
}

// To B of the product with weights: [part of the channels][step along the tokens][vector][channel][kWord].
inline __m512i interleaved(const float* row, const float*) { return _mm512_castps_si512(load(row)); }

#ifdef __AVX512BF16__
inline __m512i interleaved(const bfloat16* even, const bfloat16* odd) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(even)));
  if (odd == nullptr) return low;
  const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(odd)));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
#endif

template <class Dot, Precision precision>
void Attention<Dot, precision>::pack_values(Panel<const Value> values, Value* packed) const {
  const int steps = value_steps();
  for (int part = 0; part < value_vectors_.parts; ++part) {
    const int left = value_vectors_.begin(part), vectors = value_vectors_.size(part);
    Value* const to = packed + static_cast<long>(left) * steps * kLanes * kWord;
    for (int step = 0; step < steps; ++step) {
      const int token = step * kWord;
      for (int vector = 0; vector < vectors; ++vector) {
        const int channel = (left + vector) * kLanes;
        const Value* const odd = token + 1 < tokens_ ? values.row(token + 1) + channel : nullptr;
        _mm512_store_si512(to + static_cast<long>(step * vectors + vector) * kLanes * kWord,
                           interleaved(values.row(token) + channel, odd));
      }
    }
  }
}

}  // namespace swin
