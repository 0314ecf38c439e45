// decode-layers.cpp: decode_layers_sm90.cu without the form of its kernel, which only a GPU knows.
#include "../../kernels/decode_layers.cuh"

PHSA_KERNEL(decode_layers_sm90_w1024_i3072_h16_kv8, DecodeLayersParams, kLayerThreads, decodeLayers<LayerShape<1024, 3072, 16, 8>>)
