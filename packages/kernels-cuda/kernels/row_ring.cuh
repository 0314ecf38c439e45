// row_ring.cuh: rows on their way from memory into shared memory, several at once for each group of warps: registers have no room for as many bytes as must be
// under way. A thread reads what it has copied itself, so that nobody waits for others.
#pragma once
#include "operand_loads.cuh"
#include "row_groups.cuh"

/**
 * @tparam kOwners warps that own a row; kCount: vectors of a thread; kTensors: rows that belong together; kStages: how many of them are in the ring
 */
template <typename T, int kOwners, int kCount, int kTensors, int kStages>
struct RowRing {
  static constexpr int N = kVector<T>;
  using Vector = Pack<T, N>;
  Vector* slots;

  /** Where the thread's k-th vector of a row begins. */
  static PHSA_DEVICE int at(int k) { return (threadIdx.x % (kOwners * kLanes) + k * kOwners * kLanes) * N; }

  PHSA_DEVICE Vector& slot(int stage, int tensor, int k) const {
    return slots[((stage * kTensors + tensor) * kCount + k) * kRowThreads + threadIdx.x];
  }

  /** Begins to copy a row. */
  PHSA_DEVICE void begin(int stage, int tensor, const void* rows, int64_t row, int width) const {
#pragma unroll
    for (int k = 0; k < kCount; k++) {
      if (at(k) < width) beginCopy(&slot(stage, tensor, k), static_cast<const T*>(rows) + row * width + at(k), sizeof(Vector));
    }
  }

  PHSA_DEVICE void read(int stage, int tensor, int width, Vector (&vectors)[kCount]) const {
#pragma unroll
    for (int k = 0; k < kCount; k++) {
      if (at(k) < width) vectors[k] = slot(stage, tensor, k);
    }
  }
};
