// weight_ring.cuh: weights on their way into shared memory, chunk behind chunk in the order in which a thread block multiplies with them, as many ahead as
// there is room for (compute capability 9.0; the emulation brings its own copies).
#pragma once
#include "elements.cuh"
#include "warp.cuh"
#ifndef PHSA_EMULATION
#include "hopper.cuh"
#endif

/** A chunk: so many weight rows, and so much of each. */
constexpr int kChunkRows = 8;
constexpr int kChunkDepth = 1024;
constexpr int kChunkRowBytes = kChunkDepth * 2;
/** Between rows in shared memory, so that neighbouring rows lie in other banks. */
constexpr int kChunkPitch = kChunkRowBytes + 64;
constexpr int kSlotBytes = kChunkRows * kChunkPitch;

/** Where a chunk comes from. */
struct ChunkSource {
  const bf16* rows;
  int pitch;  // elements between rows
};

template <int Slots>
struct WeightRing {
  unsigned char* slots;  // [Slots, kSlotBytes]
  uint64_t* whole;       // [Slots]: mbarriers
  int total;             // chunks of the launch
  int begun = 0;

  PHSA_DEVICE WeightRing(unsigned char* memory, uint64_t* barriers, int chunks) : slots(memory), whole(barriers), total(chunks) {}

  /** By one thread; a barrier of the thread block follows. */
  PHSA_DEVICE void init() const {
    for (int slot = 0; slot < Slots; slot++) initBarrier(sharedAddress(whole + slot), 1);
    fenceAsyncProxy();
  }

  /** Begins to copy the next chunks, by a warp; nobody reads any more what was in their slots. @param sourceOf where a chunk of the launch comes from */
  template <typename SourceOf>
  PHSA_DEVICE void begin(int count, SourceOf sourceOf) {
    constexpr int kAtOnce = kLanes / kChunkRows;
    const int row = laneIndex() % kChunkRows;
    fenceAsyncProxy();
    for (int first = 0; first < count; first += kAtOnce) {
      const int chunk = begun + first + laneIndex() / kChunkRows;
      const bool isOne = first + laneIndex() / kChunkRows < count && chunk < total;
      const uint32_t barrier = sharedAddress(whole + chunk % Slots);
      if (isOne && row == 0) expectBytes(barrier, kChunkRows * kChunkRowBytes);
      __syncwarp();
      if (isOne) {
        const ChunkSource source = sourceOf(chunk);
        copyBulk(sharedAddress(slots + chunk % Slots * kSlotBytes + row * kChunkPitch), source.rows + static_cast<int64_t>(row) * source.pitch, kChunkRowBytes, barrier);
      }
    }
    begun += count;
  }

  /** Waits for a chunk. */
  PHSA_DEVICE const unsigned char* get(int chunk) const {
    waitForPhase(sharedAddress(whole + chunk % Slots), chunk / Slots % 2);
    return slots + chunk % Slots * kSlotBytes;
  }
};
