// elementwise.cu: silu(gate) * up with its gradients, and a + b.
//
// A thread owns one 16-byte vector of each tensor; the last ones go element by element. Bound: bytes, floor 3 (add, swiglu) or 5 (gradients) tensors
// at 4.3 TB/s. Numerics: f32, one rounding on store; far out exp overflows to infinity, whose inverse is 0.
#include "elements.cuh"

struct ElementwiseParams {
  const void* a;  // gate of swiglu
  const void* b;  // up of swiglu
  void* out;
  int64_t count;
};

struct SwigluBackwardParams {
  const void* dy;
  const void* gate;
  const void* up;
  void* dGate;
  void* dUp;
  int64_t count;
};

constexpr int kThreads = 256;

PHSA_DEVICE float sigmoid(float value) { return 1.0f / (1.0f + expf(-value)); }

struct Add {
  template <int N, typename T>
  static PHSA_DEVICE void at(const ElementwiseParams& params, int64_t index) {
    float a[N], b[N];
    loadElements(static_cast<const T*>(params.a) + index, a);
    loadElements(static_cast<const T*>(params.b) + index, b);
#pragma unroll
    for (int i = 0; i < N; i++) a[i] += b[i];
    storeElements(static_cast<T*>(params.out) + index, a);
  }
};

struct Swiglu {
  template <int N, typename T>
  static PHSA_DEVICE void at(const ElementwiseParams& params, int64_t index) {
    float gate[N], up[N];
    loadElements(static_cast<const T*>(params.a) + index, gate);
    loadElements(static_cast<const T*>(params.b) + index, up);
#pragma unroll
    for (int i = 0; i < N; i++) up[i] *= gate[i] * sigmoid(gate[i]);
    storeElements(static_cast<T*>(params.out) + index, up);
  }
};

struct SwigluBackward {
  template <int N, typename T>
  static PHSA_DEVICE void at(const SwigluBackwardParams& params, int64_t index) {
    float dy[N], gate[N], up[N];
    loadElements(static_cast<const T*>(params.dy) + index, dy);
    loadElements(static_cast<const T*>(params.gate) + index, gate);
    loadElements(static_cast<const T*>(params.up) + index, up);
#pragma unroll
    for (int i = 0; i < N; i++) {
      const float share = sigmoid(gate[i]);
      up[i] *= dy[i] * share * (1.0f + gate[i] * (1.0f - share));
      dy[i] *= gate[i] * share;
    }
    storeElements(static_cast<T*>(params.dGate) + index, up);
    storeElements(static_cast<T*>(params.dUp) + index, dy);
  }
};

template <typename Operation, typename T, typename P>
PHSA_DEVICE void overElements(const P& params) {
  constexpr int N = kVector<T>;
  int64_t index = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
  if (index + N <= params.count) {
    Operation::template at<N, T>(params, index);
    return;
  }
  for (; index < params.count; index++) Operation::template at<1, T>(params, index);
}

#define INSTANCE(SUFFIX, T)                                                                 \
  PHSA_KERNEL(add_##SUFFIX, ElementwiseParams, kThreads, overElements<Add, T>)              \
  PHSA_KERNEL(swiglu_##SUFFIX, ElementwiseParams, kThreads, overElements<Swiglu, T>)        \
  PHSA_KERNEL(swiglu_backward_##SUFFIX, SwigluBackwardParams, kThreads, overElements<SwigluBackward, T>)
INSTANCE(f32, float)
INSTANCE(bf16, bf16)
