// decode_layers_sm90.cu: all layers of a step of decoding at once (decode_layers.cuh), for the shapes of models that have fewest bytes a layer.
#include "decode_layers.cuh"

#define KERNEL(NAME, ...)                                                                                      \
  static_assert(sizeof(LayersShared<LayerShape<__VA_ARGS__>>) + kSlots * kSlotBytes <= 227 * 1024);            \
  extern "C" __global__ void __launch_bounds__(kLayerThreads, 1) NAME(const __grid_constant__ DecodeLayersParams params) { \
    decodeLayers<LayerShape<__VA_ARGS__>>(params);                                                             \
  }
KERNEL(decode_layers_sm90_w1024_i3072_h16_kv8, 1024, 3072, 16, 8)
