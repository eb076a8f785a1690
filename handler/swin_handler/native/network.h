// Pixels -> logits: a whole Swin as one function that all threads run side by side.
#pragma once

#include <mutex>
#include <optional>

#include "embed.h"
#include "head.h"
#include "merge.h"

namespace swin {

// What one forward pass writes. Embeddings and features are in the network's Value.
struct Results {
  float* logits;
  void* embeddings;
  void* features;  // or null
};

// Filled layer by layer, in their order, then finished; after that only run.
class Network {
 public:
  virtual ~Network() = default;
  virtual void embed(const EmbedWeights& from) = 0;
  virtual void merge(const MergeWeights& from) = 0;
  virtual void block(const BlockWeights& from) = 0;
  virtual void head(const HeadWeights& from) = 0;
  virtual void finish(int largest_batch) = 0;
  // pixels: (batch, height, width, 3), batch at most the largest. Calls from several threads wait for each other.
  virtual void run(const std::uint8_t* pixels, int batch, Results results) = 0;
  // Of the passes since the last call: seconds by Step, the mean of all threads. Counting begins with the first call.
  virtual void profile(double* seconds) = 0;
};

template <class N>
class NetworkOf final : public Network {
 public:
  using Value = typename N::Value;

  explicit NetworkOf(int threads) : pool_(threads), members_(threads) {}

  void embed(const EmbedWeights& from) override {
    embed_.emplace(arena_, from);
    map_ = from.map;
    place(from.map, from.linear.outputs);
  }

  void merge(const MergeWeights& from) override {
    map_ = {(from.map.height + 1) / 2, (from.map.width + 1) / 2};
    layers_.push_back({Merge<N>(arena_, from), {}});
    place(map_, from.reduction.outputs);
  }

  void block(const BlockWeights& from) override { layers_.push_back({{}, Block<N>(arena_, from)}); }

  void head(const HeadWeights& from) override { head_.emplace(arena_, from); }

  void finish(int largest_batch) override;
  void run(const std::uint8_t* pixels, int batch, Results results) override;
  void profile(double* seconds) override;

 private:
  struct Layer {  // one of the two
    std::optional<Merge<N>> merge;
    std::optional<Block<N>> block;
  };

  // One thread's memory: the panels of the group it works on, and what it alone uses while others are in that group.
  struct Member {
    Buffer<char> panels, own;
    Profile profile;
  };

  void place(Size map, int width) {
    largest_map_ = std::max(largest_map_, static_cast<std::size_t>(map.count()) * round_up(width, kLanes));
  }
  template <class Part>
  static std::size_t panel_bytes(const Part& layer, int units, int rows, int largest_batch, int threads);
  void pass(Team& team, const std::uint8_t* pixels, int batch, const Results& results);
  template <class Run>
  void spread(Team& team, int units, int rows, const Run& run);

  std::mutex running_;
  Arena arena_;
  std::optional<Embed<N>> embed_;
  std::vector<Layer> layers_;
  std::optional<Head<N>> head_;
  Size map_{};  // of the last stage
  std::size_t largest_map_ = 0;
  Buffer<Value> maps_[2];  // merging reads one and writes the other
  Pool pool_;
  std::vector<Member> members_;
};

// How much the panels of a layer's largest group take, over all batch sizes.
template <class N>
template <class Part>
std::size_t NetworkOf<N>::panel_bytes(const Part& layer, int units, int rows, int largest_batch, int threads) {
  std::size_t most = 0;
  for (int batch = 1; batch <= largest_batch; ++batch) {
    Slab slab(nullptr);
    layer.panels(slab, grouped(batch * units, rows, threads).size * rows);
    most = std::max(most, slab.used());
  }
  return most;
}

template <class N>
void NetworkOf<N>::finish(int largest_batch) {
  for (Buffer<Value>& map : maps_) map = Buffer<Value>(largest_map_ * largest_batch);
  Slab embed_slab(nullptr), head_slab(nullptr);
  embed_->panels(embed_slab);
  head_->panels(head_slab, largest_batch);
  std::size_t panels = std::max(embed_slab.used(), head_slab.used()), own = head_slab.used();
  for (const Layer& layer : layers_) {
    if (layer.merge) {
      panels = std::max(panels, panel_bytes(*layer.merge, layer.merge->tokens(), 1, largest_batch, pool_.size()));
      continue;
    }
    const Block<N>& block = *layer.block;
    panels = std::max(panels, panel_bytes(block, block.windows(), block.tokens(), largest_batch, pool_.size()));
    Slab slab(nullptr);
    block.heads().scratch(slab);
    own = std::max(own, slab.used());
  }
  for (Member& member : members_) {
    member.panels = Buffer<char>(panels);
    member.own = Buffer<char>(own);
  }
}

// run(team, panels' memory, first unit, units) for all groups of a layer.
template <class N>
template <class Run>
void NetworkOf<N>::spread(Team& team, int units, int rows, const Run& run) {
  const Groups groups = grouped(units, rows, team.size());
  const auto group = [&](Team& members, Member& owner, int index) {
    const int begin = index * groups.size;
    run(members, owner.panels.data(), begin, std::min(groups.size, units - begin));
  };
  if (groups.together) {
    for (int index = 0; index < groups.count; ++index) group(team, members_[0], index);
    return;
  }
  team.share(groups.count, [&](int index) {
    Team alone;
    group(alone, members_[team.member()], index);
  });
}

template <class N>
void NetworkOf<N>::run(const std::uint8_t* pixels, int batch, Results results) {
  const std::lock_guard<std::mutex> lock(running_);
  pool_.run([&](Team& team) { pass(team, pixels, batch, results); });
}

template <class N>
void NetworkOf<N>::pass(Team& team, const std::uint8_t* pixels, int batch, const Results& results) {
  Member& member = members_[team.member()];
  Value* map = maps_[0].data();
  Value* other = maps_[1].data();
  Slab embed_slab(member.panels.data());
  embed_->run(team, embed_->panels(embed_slab), member.profile, pixels, batch, map);
  for (const Layer& layer : layers_) {
    if (layer.merge) {
      spread(team, batch * layer.merge->tokens(), 1, [&](Team& members, char* memory, int first, int tokens) {
        Slab slab(memory);
        layer.merge->run(members, layer.merge->panels(slab, tokens), member.profile, map, other, first, tokens);
      });
      std::swap(map, other);
      continue;
    }
    const Block<N>& block = *layer.block;
    Slab own(member.own.data());
    const auto scratch = block.heads().scratch(own);
    spread(team, batch * block.windows(), block.tokens(), [&](Team& members, char* memory, int first, int windows) {
      Slab slab(memory);
      block.run(members, block.panels(slab, windows * block.tokens()), scratch, member.profile, map, first, windows);
    });
  }
  Slab shared(members_[0].panels.data()), own(member.own.data());
  head_->run(team, head_->panels(shared, batch), head_->panels(own, batch), member.profile, map, map_.count(), batch,
             results.logits, static_cast<Value*>(results.embeddings), static_cast<Value*>(results.features));
}

template <class N>
void NetworkOf<N>::profile(double* seconds) {
  const std::lock_guard<std::mutex> lock(running_);
  std::fill_n(seconds, kSteps, 0.0);
  for (Member& member : members_) {
    for (int step = 0; step < kSteps; ++step) seconds[step] += member.profile.seconds[step] / members_.size();
    member.profile = {};
    member.profile.on = true;
  }
}

}  // namespace swin
