// list_parts.cuh: a range of the lists of selected_lists_sm90.cu, cut where a block's list ends.
#pragma once
#include "warp.cuh"

/** Choices of one block: `count` entries from `from` on, none at the end. */
struct ListPart {
  int block;
  int from;
  int count;
};

/** Parts of a range of a section's entries, in order. A lane knows where the list of one of the next 32 blocks ends. */
struct PartWalk {
  const int* starts;
  int blocks;
  int firstBlock;
  int next;
  int end;
  int ends;

  PHSA_DEVICE void load() { ends = starts[min(firstBlock + laneIndex(), blocks - 1) + 1]; }

  PHSA_DEVICE PartWalk(const int* given, int blockCount, int from, int to) : starts(given), blocks(blockCount), next(from), end(to) {
    // The last block whose list starts at or before `from`, by 32 steps at a time.
    firstBlock = 0;
    for (int span = blocks; span > 1;) {
      const int step = (span + kLanes - 1) / kLanes;
      const int block = firstBlock + laneIndex() * step;
      const unsigned before = __ballot_sync(kWholeWarp, laneIndex() * step < span && starts[min(block, blocks - 1)] <= from);
      const int last = kLanes - 1 - __clz(before);
      span = min(step, span - last * step);
      firstBlock += last * step;
    }
    load();
  }

  PHSA_DEVICE ListPart advance() {
    if (next >= end) return ListPart{0, 0, 0};
    unsigned behind = __ballot_sync(kWholeWarp, ends > next);
    while (behind == 0) {
      firstBlock += kLanes;
      load();
      behind = __ballot_sync(kWholeWarp, ends > next);
    }
    const int lane = __ffs(behind) - 1;
    ListPart part;
    part.block = firstBlock + lane;
    part.from = next;
    part.count = min(__shfl_sync(kWholeWarp, ends, lane), end) - next;
    next += part.count;
    return part;
  }
};
