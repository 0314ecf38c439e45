// select_top.cu: the best blocks by scores that are given, for baselines (spec 8).
//
// A warp owns one listed row of one KV head and reads its scores once, 32 at a time; a list that is full lets only better ones in.
#include "sequences.cuh"
#include "top_blocks.cuh"

struct SelectTopParams {
  const float* scores;  // [Hkv, n, maxBlocks]
  const int* rows;      // [n], -1 for none
  int* selected;        // [Hkv, Tq, topK], rows named are overwritten
  Sequences sequences;
  Rules rules;
  int count;  // n
  int maxBlocks;
};

PHSA_DEVICE void selectTop(const SelectTopParams& params) {
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int index = blockIdx.x * kWarps + warpIndex();
  const int kvHead = blockIdx.y;
  if (index >= params.count) return;
  const int row = params.rows[index];
  if (row < 0 || row >= sequences.queryTokens) return;
  const Query query = findQuery(sequences, rules, row);
  TopBlocks best;
  best.clear();
  if (query.sequence >= 0) {
    const BlockRange candidates = candidateBlocks(rules, query.position, query.denseBelow);
    const float* scores = params.scores + (static_cast<int64_t>(kvHead) * params.count + index) * params.maxBlocks;
    const int last = rules.topK - 1;
    for (int first = candidates.start; first < candidates.end; first += kLanes) {
      const int block = first + laneIndex();
      const float score = block < candidates.end ? comparable(scores[block]) : -INFINITY;
      const float least = __shfl_sync(kWholeWarp, last < kLanes ? best.scores[0] : best.scores[1], last % kLanes);
      const int leastBlock = __shfl_sync(kWholeWarp, last < kLanes ? best.blocks[0] : best.blocks[1], last % kLanes);
      best.offer(__ballot_sync(kWholeWarp, block < candidates.end && (leastBlock < 0 || score > least)), score, block);
    }
  }
  best.write(params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + row) * rules.topK, rules.topK, rules.topK);
}

PHSA_KERNEL(select_top, SelectTopParams, kThreads, selectTop)
