// The library as C sees it: one network in the numbers it was compiled for (SWIN_NUMBERS: Float32, BFloat16 or Int8).
//
// Functions return 0, or -1 with a line in `message` (of at least 256 bytes). A network is made, filled layer by layer
// in the order of the layers, finished, and then only run.
#include <cstdio>
#include <exception>

#include "network.h"

namespace {

template <class Work>
int guarded(char* message, const Work& work) {
  try {
    work();
    return 0;
  } catch (const std::exception& error) {
    std::snprintf(message, 256, "%s", error.what());
    return -1;
  }
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int swin_create(int threads, swin::Network** network, char* message) {
  return guarded(message, [&] { *network = new swin::NetworkOf<swin::SWIN_NUMBERS>(threads); });
}

int swin_embed(swin::Network* network, const swin::EmbedWeights* from, char* message) {
  return guarded(message, [&] { network->embed(*from); });
}

int swin_merge(swin::Network* network, const swin::MergeWeights* from, char* message) {
  return guarded(message, [&] { network->merge(*from); });
}

int swin_block(swin::Network* network, const swin::BlockWeights* from, char* message) {
  return guarded(message, [&] { network->block(*from); });
}

int swin_head(swin::Network* network, const swin::HeadWeights* from, char* message) {
  return guarded(message, [&] { network->head(*from); });
}

int swin_finish(swin::Network* network, int largest_batch, char* message) {
  return guarded(message, [&] { network->finish(largest_batch); });
}

void swin_run(swin::Network* network, const std::uint8_t* pixels, int batch, float* logits, void* embeddings,
              void* features) {
  network->run(pixels, batch, {logits, embeddings, features});
}

void swin_profile(swin::Network* network, double* seconds) { network->profile(seconds); }

void swin_destroy(swin::Network* network) { delete network; }

}  // extern "C"
#pragma GCC visibility pop
