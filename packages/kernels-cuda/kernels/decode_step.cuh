// decode_step.cuh: all that attention does in a step of decoding, by one launch: the new token into its page and its block's sums, the choice of blocks,
// attention (spec 4, 5, 6). For contexts whose blocks one thread block scores alone.
//
// A unit is a query and a KV head. Its thread blocks, one or a cluster, all make the same choice, which needs no exchange, and share the keys. The new key is read
// from where it came; a representative that it completes is made by each for itself. Representatives are in registers, and keys seen in any case on their way
// to L2, before the kernel in front has ended: only steps before wrote them. Numerics as in select_paged.cu and attend_paged.cu. Bound: loads that wait for
// one another: queries, then chosen keys.
#pragma once
#include "block_sums.cuh"
#include "attend_pages.cuh"
#include "choose_blocks.cuh"
#include "overlap.cuh"
#include "paged_query.cuh"

struct DecodeStepParams {
  AttendPagedParams attention;  // partials, arrivals and splits are not used
  AppendParams tokens;          // thread blocks are not used
  int* selected;                // [Hkv, Tq, topK]
  int capacity;                 // blocks that there is room for the scores of, a multiple of 16
};

constexpr int kStepThreads = kChoiceThreads;
constexpr int kStepWarps = kChoiceWarps;
/** Candidates that a warp ranks, two a lane; more are for the thread block. */
constexpr int kMostInWarp = 2 * kLanes;

template <int D>
struct alignas(16) StepChoiceShared {
  uint4 fresh[D / 8];                       // representative of the block that ends here, f16
  int selected[kStepWarps][kMostSelected];  // each warp's, all the same
  ChoiceShared choice;
};

template <int D>
struct alignas(16) StepShared : StepChoiceShared<D> {
  WarpParts<D, 1, kStepWarps> warps;
};

/** One query's choice for one KV head, by a thread block. */
template <int D>
struct StepChoice {
  const AttendPagedParams& params;
  const uint32_t* halfReps;  // as of AppendParams
  StepChoiceShared<D>& shared;
  float* scores;  // [group, capacity], base 2
  int capacity;   // see DecodeStepParams
  Query query;
  int kvHead;
  int group;
  int scored;  // complete blocks
  int fresh;   // the last of them where it ends with the query, else -1
  BlockRange candidates;
  int found;  // how many are chosen

  PHSA_DEVICE StepChoice(const AttendPagedParams& given, const uint32_t* reps, StepChoiceShared<D>& memory, float* places, int most, const Query& own,
                         int head)
      : params(given), halfReps(reps), shared(memory), scores(places), capacity(most), query(own), kvHead(head) {
    const Rules& rules = params.rules;
    group = rules.heads / rules.kvHeads;
    scored = (query.position + 1) / rules.blockSize;
    fresh = (query.position + 1) % rules.blockSize == 0 ? scored - 1 : -1;
    candidates = candidateBlocks(rules, query.position, query.denseBelow);
    found = min(query.topK, candidates.end - candidates.start);
  }

  /** Whether there is nothing to compare: all are chosen, or none. */
  PHSA_DEVICE bool isGiven() const { return found == 0 || found == candidates.end - candidates.start; }

  /** This lane's part of two of a tile's 16 representatives, of those that are older than this step. */
  PHSA_DEVICE void load(int tile, uint4 (&rows)[2][D / 32]) const {
    const Sequences& sequences = params.sequences;
    const Rules& rules = params.rules;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int block = 16 * tile + laneIndex() / 4 + 8 * half;
      const bool used = block < scored && block != fresh;
      const int64_t row = used ? static_cast<int64_t>(blockRow(sequences, query.sequence, block, sequences.pageTokens / rules.blockSize)) : 0;
      const uint4* source = reinterpret_cast<const uint4*>(halfReps + (row * rules.kvHeads + kvHead) * (D / 2)) + laneIndex() % 4;
#pragma unroll
      for (int j = 0; j < D / 32; j++) rows[half][j] = used ? source[4 * j] : uint4{0, 0, 0, 0};
    }
  }

  /** Scores of all complete blocks. @param rows of the warp's first tile; queries as in PagedAttention, bf16 */
  PHSA_DEVICE void score(uint4 (&rows)[2][D / 32], const uint32_t (&queries)[D / 8]) const {
    uint32_t halves[D / 8];
#pragma unroll
    for (int i = 0; i < D / 8; i++) halves[i] = boundedHalves(__uint_as_float(queries[i] << 16), __uint_as_float(queries[i] & 0xffff0000u));
    const float scale = params.rules.scale * 1.44269504f;
    const int tiles = (scored + 15) / 16;
    for (int tile = warpIndex(); tile < tiles; tile += kStepWarps) {
      const int first = 16 * tile + laneIndex() / 4;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        if (first + 8 * half != fresh) continue;
#pragma unroll
        for (int j = 0; j < D / 32; j++) rows[half][j] = shared.fresh[4 * j + laneIndex() % 4];
      }
      float products[2][4] = {};
#pragma unroll
      for (int j = 0; j < D / 32; j++) {
        const uint32_t low[4] = {rows[0][j].x, rows[1][j].x, rows[0][j].y, rows[1][j].y};
        const uint32_t high[4] = {rows[0][j].z, rows[1][j].z, rows[0][j].w, rows[1][j].w};
        multiplyHalf(products[0], low, halves[4 * j], halves[4 * j + 1]);
        multiplyHalf(products[1], high, halves[4 * j + 2], halves[4 * j + 3]);
      }
      load(tile + kStepWarps, rows);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int head = 2 * (laneIndex() % 4) + i % 2;
        const int block = first + 8 * (i / 2);
        if (head < group && block < scored) scores[head * capacity + block] = (products[0][i] + products[1][i]) * scale;
      }
    }
  }

  /** Logarithm of base 2 of the sum over a head's complete blocks, by a warp; 0 for the logit score. */
  PHSA_DEVICE float logOf(int head) const {
    if (params.rules.score != kSoftmax) return 0.0f;
    const float* row = scores + head * capacity;
    float largest = -INFINITY;
    for (int block = laneIndex(); block < scored; block += kLanes) largest = fmaxf(largest, row[block]);
    largest = warpMax(largest);
    float total = 0.0f;
    for (int block = laneIndex(); block < scored; block += kLanes) total += shiftedExp2(row[block], largest);
    return largest + log2f(warpSum(total));
  }

  /** The chosen blocks, ascending: in shared memory, `found` of them. Comes after a barrier behind `score`. */
  PHSA_DEVICE const int* choose() const {
    if (isGiven() || candidates.end - candidates.start <= kMostInWarp) return chooseInWarp();
    ChoiceShared& choice = shared.choice;
    for (int head = warpIndex(); head < group; head += kStepWarps) {
      const float log = logOf(head);
      if (laneIndex() == 0) choice.logs[head] = log;
    }
    __syncthreads();
    BlockChoice{choice, scores, capacity, group, params.rules.score == kSoftmax, candidates, found}.run(shared.selected[0]);
    return shared.selected[0];
  }

  /** Each warp for itself. */
  PHSA_DEVICE const int* chooseInWarp() const {
    const int count = candidates.end - candidates.start;
    int* chosen = shared.selected[warpIndex()];
    if (isGiven()) {
      for (int slot = laneIndex(); slot < found; slot += kLanes) chosen[slot] = candidates.start + slot;
      __syncwarp();
      return chosen;
    }
    float sums[2] = {};
    for (int head = 0; head < group; head++) {
      const float log = logOf(head);
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int index = laneIndex() + half * kLanes;
        if (index >= count) continue;
        const float score = scores[head * capacity + candidates.start + index];
        sums[half] += params.rules.score == kSoftmax ? exp2f(score - log) : score;
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) sums[half] = comparable(sums[half]);
    int ranks[2] = {};
    for (int other = 0; other < count; other++) {
      const float value = __shfl_sync(kWholeWarp, other < kLanes ? sums[0] : sums[1], other % kLanes);
#pragma unroll
      for (int half = 0; half < 2; half++) ranks[half] += value > sums[half] || (value == sums[half] && other < laneIndex() + half * kLanes);
    }
    int place = 0;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int index = laneIndex() + half * kLanes;
      const bool isChosen = index < count && ranks[half] < found;
      const unsigned ofLanes = __ballot_sync(kWholeWarp, isChosen);
      if (isChosen) chosen[place + __popc(ofLanes & ((1u << laneIndex()) - 1))] = candidates.start + index;
      place += __popc(ofLanes);
    }
    __syncwarp();
    return chosen;
  }
};

/** What the new token changes in the cache, by a warp. */
template <int D>
PHSA_DEVICE void keepToken(const DecodeStepParams& params, const Query& query, int row, int kvHead) {
  const AppendParams& tokens = params.tokens;
  const int size = tokens.rules.blockSize;
  const int block = query.position / size;
  const int64_t stored = representativeRow(tokens.sequences, tokens.rules, query.sequence, kvHead, block);
  BlockSums<bf16, D> sums;
  if (query.position % size != 0) sums.load(tokens, stored);
  sums.add(tokens, row, kvHead);
  copyToPage<bf16, D>(tokens, static_cast<int64_t>(row) * tokens.rules.kvHeads + kvHead, keyRow(tokens.sequences, query.sequence, query.position));
  const bool isWhole = (query.position + 1) % size == 0;
  if (isWhole) sums.finish(tokens, kvHead, size);
  sums.store(tokens, stored);
  if (isWhole && tokens.halfReps != nullptr) sums.storeHalves(tokens.halfReps + stored * (D / 2));
}

/** The representative that the new token completes, by a warp, for this thread block alone. */
template <int D>
PHSA_DEVICE void makeFresh(const DecodeStepParams& params, StepShared<D>& shared, const Query& query, int row, int kvHead) {
  const AppendParams& tokens = params.tokens;
  const int size = tokens.rules.blockSize;
  BlockSums<bf16, D> sums;
  if (size > 1) sums.load(tokens, representativeRow(tokens.sequences, tokens.rules, query.sequence, kvHead, query.position / size));
  sums.add(tokens, row, kvHead);
  sums.finish(tokens, kvHead, size);
  sums.storeHalves(reinterpret_cast<uint32_t*>(shared.fresh));
}

/** A thread block's share of `count` keys, in whole steps of a warp. */
struct KeyShare {
  int first;
  int end;

  PHSA_DEVICE KeyShare(int count, int part, int parts) {
    const int share = ((count + parts - 1) / parts + kKeys - 1) / kKeys * kKeys;
    first = part * share;
    end = min(count, first + share);
  }
};

/** Begins to bring keys and values of a share to L2. @param tokenAt an index's position */
template <int D, typename TokenAt>
PHSA_DEVICE void bringKeys(const AttendPagedParams& params, const Query& query, int kvHead, const KeyShare& share, TokenAt tokenAt) {
  for (int index = share.first + static_cast<int>(threadIdx.x) / 2; index < share.end; index += kStepThreads / 2) {
    const int64_t key = keyRow(params.sequences, query.sequence, tokenAt(index)) * params.rules.kvHeads + kvHead;
    bringToL2<D * sizeof(bf16)>(static_cast<const bf16*>(threadIdx.x % 2 == 0 ? params.k : params.v) + key * D);
  }
}

/**
 * @tparam Team the thread blocks of a unit: `kBlocks`, `Shared`, `rank()`; `begin(group)`; `arrive()` once this one has read what the first one may write; and
 *   `merge(warps, put)`, which returns when all have arrived and calls put(pair, values, sums) for this one's share of the results
 */
template <int D, typename Team>
PHSA_DEVICE void decodeStep(const DecodeStepParams& params) {
  PHSA_DYNAMIC_SHARED(dynamic);
  __shared__ StepShared<D> shared;
  __shared__ typename Team::Shared ofTeam;
  const AttendPagedParams& call = params.attention;
  const Rules& rules = call.rules;
  const Sequences& sequences = call.sequences;
  const int unit = blockIdx.x / Team::kBlocks;
  const int kvHead = unit % rules.kvHeads;
  const int row = unit / rules.kvHeads;
  const int group = rules.heads / rules.kvHeads;
  const int64_t firstRow = static_cast<int64_t>(row) * rules.heads + kvHead * group;
  int* selected = params.selected + (static_cast<int64_t>(kvHead) * sequences.queryTokens + row) * rules.topK;
  Team team(ofTeam, group);
  const bool isFirst = team.rank() == 0;
  const Query query = findPagedQuery(sequences, rules, row);
  if (query.sequence < 0) {
    waitForKernelBefore();
    letNextKernelBegin();
    if (!isFirst) return;
    for (int pair = threadIdx.x; pair < group * (D / 2); pair += kStepThreads) putOut<D>(call, firstRow, pair, float2{0.0f, 0.0f}, float2{-INFINITY, 0.0f});
    for (int slot = threadIdx.x; slot < rules.topK; slot += kStepThreads) selected[slot] = -1;
    return;
  }
  team.begin();
  const StepChoice<D> choice(call, params.tokens.halfReps, shared, reinterpret_cast<float*>(dynamic), params.capacity, query, kvHead);
  uint4 rows[2][D / 32];
  if (!choice.isGiven()) choice.load(warpIndex(), rows);
  ForcedRuns forced(rules, query);
  // But for the new key, the last one.
  forced.position--;
  forced.count--;
  const KeyShare ofForced(forced.count, team.rank(), Team::kBlocks);
  bringKeys<D>(call, query, kvHead, ofForced, [&](int index) { return forced.tokenAt(index, ofForced.end); });
  // Few sequences leave memory idle meanwhile: also what may be chosen.
  const int candidates = choice.candidates.end - choice.candidates.start;
  if (Team::kBlocks > 1 && choice.found > 0 && candidates <= kMostInWarp) {
    bringKeys<D>(call, query, kvHead, KeyShare(candidates * rules.blockSize, team.rank(), Team::kBlocks),
                 [&](int index) { return choice.candidates.start * rules.blockSize + index; });
  }

  waitForKernelBefore();
  letNextKernelBegin();
  PagedAttention<D, 1, kStepWarps> attention(call, row, kvHead);
  // Others of the team read the sums of a block that ends here: then the first one must not write yet.
  const bool endsBlock = choice.fresh >= 0;
  if (endsBlock && !choice.isGiven()) {
    if (warpIndex() == 0) makeFresh<D>(params, shared, query, row, kvHead);
    __syncthreads();
  }
  team.arrive();
  if (!choice.isGiven()) choice.score(rows, attention.queries[0]);
  // The last warps first: they have the fewest blocks to score.
  attention.addRuns(ofForced.first + (kStepWarps - 1 - warpIndex()) * kKeys, ofForced.end, kStepWarps * kKeys,
                    [&](int index) { return forced.from(sequences, forced.tokenAt(index, ofForced.end)); });
  if (isFirst && warpIndex() == 0) {
    const Run own[2] = {{row, 1}, {0, 0}};
    attention.add(own, static_cast<const bf16*>(params.tokens.k), static_cast<const bf16*>(params.tokens.v));
  }
  if (!choice.isGiven()) __syncthreads();
  const int* chosen = choice.choose();
  if (isFirst && !endsBlock && warpIndex() == kStepWarps - 2) keepToken<D>(params, query, row, kvHead);
  const KeyShare ofChosen(choice.found * rules.blockSize, team.rank(), Team::kBlocks);
  attention.addRuns(ofChosen.first + warpIndex() * kKeys, ofChosen.end, kStepWarps * kKeys, [&](int index) {
    if (index >= ofChosen.end) return Run{0, 0};
    return Run{static_cast<int>(keyRow(sequences, query.sequence, chosen[index / rules.blockSize] * rules.blockSize + index % rules.blockSize)), kRun};
  });
  if (isFirst && warpIndex() == kStepWarps - 1) {
    for (int slot = laneIndex(); slot < rules.topK; slot += kLanes) selected[slot] = slot < choice.found ? chosen[slot] : -1;
  }
  attention.leave(shared.warps);
  team.merge(shared.warps, [&](int pair, float2 sum, float2 merged) { putOut<D>(call, firstRow, pair, sum, merged); });
  if (isFirst && endsBlock && warpIndex() == 0) keepToken<D>(params, query, row, kvHead);
}
