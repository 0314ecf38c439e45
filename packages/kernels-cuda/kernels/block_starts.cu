// block_starts.cu: numbers the blocks of a paged batch one after the other, as those of a packed one are, for kernels that have a list or a tile for each:
// sequences without new queries have none. One warp; bound: its launch.
#include "sequences.cuh"
#include "warp.cuh"

struct BlockStartsParams {
  int* starts;  // [S + 1]
  Sequences sequences;
  Rules rules;
};

PHSA_DEVICE void blockStarts(const BlockStartsParams& params) {
  const Sequences& sequences = params.sequences;
  const int m = params.rules.blockSize;
  int before = 0;
  if (laneIndex() == 0) params.starts[0] = 0;
  for (int first = 0; first < sequences.sequences; first += kLanes) {
    const int sequence = first + laneIndex();
    const bool used = sequence < sequences.sequences && sequences.queryStarts[sequence + 1] > sequences.queryStarts[sequence];
    int sum = used ? (sequences.keyLengths[sequence] + m - 1) / m : 0;
    for (int offset = 1; offset < kLanes; offset *= 2) {
      const int other = __shfl_up_sync(kWholeWarp, sum, offset);
      if (laneIndex() >= offset) sum += other;
    }
    if (sequence < sequences.sequences) params.starts[sequence + 1] = before + sum;
    before += __shfl_sync(kWholeWarp, sum, kLanes - 1);
  }
}

PHSA_KERNEL(block_starts, BlockStartsParams, kLanes, blockStarts)
