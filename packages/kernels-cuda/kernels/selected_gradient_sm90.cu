// selected_gradient_sm90.cu: gradients of attention through selected blocks of 16 and 32 tokens, key-major (spec 5). Deterministic: sums have a fixed order.
//
// A group of m / 16 warps owns a key block of one KV head, 16 keys a warp, and walks the list of the queries that selected it (selected_lists_sm90.cu),
// 16 query heads at a time. Their rows of q and dOut come through a ring of cp.async stages, so that gathers run ahead of the products.
// The products are transposed, S^T = K q^T and dP^T = V dOut^T: their accumulators are already the left operands of dV += P^T dOut and dK += dS^T q, which
// stay in registers for the whole list. dS K is the query's part from this block, written in bf16 at (row, slot) for the kernel that sums dq.
// A list longer than a piece is walked by several groups; all but the first leave f32 partials, which selected_gradient_finish adds in order.
// Numerics: P and dS are rounded to bf16 for the products; f32 sums.
// Bound: bytes, 768 a query head and block through the L2 cache, a third of them dS K on its way to memory; a KV head's rows of q and dOut do not all stay
// in the cache between one choice and the next.
#include "selected_gradient_sums.cuh"

constexpr int kRowBytes = kHeadDim * 2;
/** 16 rows of q, dOut, keys or values. */
constexpr int kTileBytes = 16 * kRowBytes;
constexpr int kBlockWarps = 8;
constexpr int kBlockThreads = kBlockWarps * kLanes;
constexpr float kLog2E = 1.4426950408889634f;

/** Chunk of 16 bytes of a row of 256, swizzled. */
PHSA_DEVICE uint32_t place(int row, int chunk) { return row * kRowBytes + ((chunk ^ (row & 7)) << 4); }

/**
 * Shared memory of a thread block, each part for one group after the other: stages of q and dOut, the group's keys in the order that dq is stored in,
 * stages of lse and delta, dS, the item. The first two begin at multiples of 256.
 */
template <int M>
struct BlockShared {
  static constexpr bool kAlone = M == 16;
  static constexpr int kRows = 16;
  static constexpr int kSlices = M / 16;
  static constexpr int kGroups = kBlockWarps / kSlices;
  static constexpr int kStages = M == 32 ? 4 : 3;
  static constexpr int kHalfStage = kRows * kRowBytes;
  static constexpr int kRingBytes = kStages * 2 * kHalfStage;
  static constexpr int kKeyBytes = M * kRowBytes;
  static constexpr int kScalarBytes = kStages * 2 * kRows * 4;
  static constexpr int kDScoreBytes = kAlone ? 0 : M * kRows * 2;
  static constexpr int kItemBytes = kAlone ? 0 : 16;
  static constexpr int kKeys = kGroups * kRingBytes;
  static constexpr int kScalars = kKeys + kGroups * kKeyBytes;
  static constexpr int kDScores = kScalars + kGroups * kScalarBytes;
  static constexpr int kItems = kDScores + kGroups * kDScoreBytes;
  static constexpr int kBytes = kItems + kGroups * kItemBytes;
};

/** An 8 x 8 matrix of bf16 spread over the warp, transposed. */
PHSA_DEVICE uint32_t transposeMatrix(uint32_t a) {
  uint32_t d;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;\n" : "=r"(d) : "r"(a));
  return d;
}

/** Written once and read by a later kernel: first to leave the cache. */
PHSA_DEVICE void storeStreaming(void* target, const uint32_t (&values)[4]) {
  asm volatile("st.global.cs.v4.b32 [%0], {%1, %2, %3, %4};\n" ::"l"(target), "r"(values[0]), "r"(values[1]), "r"(values[2]), "r"(values[3]) : "memory");
}

template <int Slices>
PHSA_DEVICE void syncGroup(int group) {
  if constexpr (Slices == 1) {
    __syncwarp();
  } else {
    syncThreads(1 + group, Slices * kLanes);
  }
}

/** 16 keys as left operands. */
PHSA_DEVICE void loadFragments(const void* from, const KeySlice& keys, int kvHeads, uint32_t (&fragments)[8][4]) {
  const int lane = laneIndex();
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int key = lane / 4 + half * 8;
    const uint32_t* row = static_cast<const uint32_t*>(from) + ((keys.row + key) * kvHeads + keys.kvHead) * (kHeadDim / 2) + lane % 4;
#pragma unroll
    for (int k = 0; k < 8; k++) {
      fragments[k][half] = key < keys.keys ? row[k * 8] : 0;
      fragments[k][2 + half] = key < keys.keys ? row[k * 8 + 4] : 0;
    }
  }
}

template <int M>
PHSA_DEVICE void selectedGradient(const SelectedGradientParams& params) {
  using Shared = BlockShared<M>;
  constexpr int kSlices = Shared::kSlices;
  constexpr int kStages = Shared::kStages;
  constexpr int kRows = Shared::kRows;
  constexpr int kHalfStage = Shared::kHalfStage;
  constexpr bool kAlone = Shared::kAlone;
  PHSA_DYNAMIC_SHARED(bytes);
  const Sequences& sequences = params.sequences;
  const Rules& rules = params.rules;
  const int lane = laneIndex();
  const int warp = threadIdx.x / kLanes;
  const int group = warp / kSlices;
  const int slice = warp % kSlices;
  const uint32_t shared = sharedAddress(bytes);
  const uint32_t ring = shared + group * Shared::kRingBytes;
  const uint32_t ownKeys = Shared::kKeys + group * Shared::kKeyBytes;
  const uint32_t ownScalars = Shared::kScalars + group * Shared::kScalarBytes;
  const uint32_t ownDScores = Shared::kDScores + group * Shared::kDScoreBytes;
  // Of the chunks of dS, so that eight keys lie in different banks.
  auto swizzle = [](int key) { return key / (64 / kRows) & (kRows / 8 - 1); };
  int* const ownItem = reinterpret_cast<int*>(bytes + Shared::kItems + group * Shared::kItemBytes);
  const int headBits = 31 - __clz(rules.heads / rules.kvHeads);
  const int heads = 1 << headBits;
  const int tileEntries = kRows >> headBits;
  const float factor = rules.scale * kLog2E;
  // A KV head's rows of q and dOut are about what the L2 cache holds, so one comes after the other, long lists first.
  const int headItems = params.headPieces + sequences.blocks;
  const int items = params.kvHeads * headItems;

  // Offsets within q, dOut or keys of what this lane copies or loads; the other chunks of the row are an exclusive or of 32 bytes away.
  const uint32_t copied = place(lane / 16, lane % 16);
  const uint32_t straight = place(lane % 8 + lane / 16 * 8, lane / 8 % 2);
  const uint32_t transposed = place(lane % 16, lane / 16);

  int upcomingItem = 0;
  auto fetchItem = [&]() {
    if (slice == 0 && lane == 0) upcomingItem = atomicAdd(params.counters, 1);
  };
  fetchItem();
  while (true) {
    int item = upcomingItem;
    if constexpr (kSlices == 1) {
      item = __shfl_sync(kWholeWarp, item, 0);
    } else {
      if (slice == 0 && lane == 0) *ownItem = item;
      syncGroup<kSlices>(group);
      item = *ownItem;
    }
    if (item >= items) return;
    fetchItem();
    const int head = item / headItems;
    const int later = item % headItems;
    int list = head * sequences.blocks + later - params.headPieces;
    int piece = 0;
    if (later < params.headPieces) {
      list = -1;
      if (later < params.counters[1 + head]) {
        const int2 found = reinterpret_cast<const int2*>(params.pieces)[head * params.headPieces + later];
        list = found.x;
        piece = found.y;
      }
    }
    const KeySlice keys = keySlice(params, list, slice);
    if (keys.sequence == sequences.sequences) {
      syncGroup<kSlices>(group);
      continue;
    }
    const int4 range = reinterpret_cast<const int4*>(params.lists)[list];
    const int count = min(params.pieceEntries, range.y - piece * params.pieceEntries);
    const int* entries = params.entries + static_cast<int64_t>(keys.kvHead) * sequences.queryTokens * rules.topK + range.x + piece * params.pieceEntries;
    const int tiles = (count + tileEntries - 1) / tileEntries;

    // A tile's gathers: lane l knows the entry of row l (or l % 16), the last one again behind the end. The entries of the tile after it are already on their way.
    const int ownEntry = lane % kRows >> headBits;
    int upcoming = 0;
    int gathered[kStages];
    auto fetchEntry = [&](int tile) { upcoming = entries[min(tile * tileEntries + ownEntry, count - 1)]; };
    auto load = [&](int tile) {
      if (tile < tiles) {
        const int entry = upcoming;
        gathered[kStages - 1] = entry;
        fetchEntry(tile + 1);
        const int head = entry / rules.topK * rules.heads + (keys.kvHead << headBits) + (lane & (heads - 1));
        const int stage = tile % kStages;
        if (slice == 0) {
          const bool used = tile * tileEntries + ownEntry < count;
          const uint32_t at = ownScalars + (stage * 2 * kRows + lane) * 4;
          const bool isLse = lane < kRows;
          if (used) {
            copyAsync4(shared + at, (isLse ? params.lse : params.delta) + head);
          } else {
            // No probability.
            *reinterpret_cast<float*>(bytes + at) = isLse ? INFINITY : 0.0f;
          }
        }
        const uint32_t to = ring + stage * 2 * kHalfStage + copied;
#pragma unroll
        for (int i = 0; i < kRows / 2 / kSlices; i++) {
          const int pair = i * kSlices + slice;
          const int64_t from = static_cast<int64_t>(__shfl_sync(kWholeWarp, head, pair * 2 + lane / 16)) * kRowBytes + lane % 16 * 16;
          const uint32_t target = (to ^ pair % 4 * 32) + pair * 2 * kRowBytes;
          copyAsync16(target, static_cast<const unsigned char*>(params.q) + from, true);
          copyAsync16(target + kHalfStage, static_cast<const unsigned char*>(params.dOut) + from, true);
        }
      }
      commitCopies();
    };
    if (tiles > 0) fetchEntry(0);
#pragma unroll
    for (int tile = 0; tile < kStages - 1; tile++) {
      load(tile);
#pragma unroll
      for (int i = 0; i < kStages - 1; i++) gathered[i] = gathered[i + 1];
    }

    uint32_t keyFragments[8][4];
    uint32_t valueFragments[8][4];
    float dKeys[16][4] = {};
    float dValues[16][4] = {};
    int shift = 0;
    bool masked = false;
    if (tiles > 0) {
      loadFragments(params.k, keys, rules.kvHeads, keyFragments);
      loadFragments(params.v, keys, rules.kvHeads, valueFragments);
      // Pairs of dimensions are permuted so that the accumulators of dq hold 8 neighbouring dimensions a lane: pair 8 k + 4 (i / 2) + lane % 4 of a row
      // goes to chunk 4 (k / 2) + lane % 4, pair 2 (k % 2) + i / 2 there.
#pragma unroll
      for (int k = 0; k < 8; k++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const uint32_t at = place(slice * 16 + lane / 4 + i % 2 * 8, k / 2 * 4 + lane % 4) + (k % 2 * 2 + i / 2) * 4;
          *reinterpret_cast<uint32_t*>(bytes + ownKeys + at) = keyFragments[k][i];
        }
      }
      // Complete blocks are visible from end to end, and positions ascend within a list.
      shift = firstPosition(sequences, keys.sequence) - sequences.queryStarts[keys.sequence];
      masked = shift + entries[0] / rules.topK < keys.firstKey + 15;
    }
    // Of the slab's first entry and this lane's part.
    unsigned char* const dq = static_cast<unsigned char*>(params.dqPartial) + lane % 4 * 16 +
                              (static_cast<int64_t>(keys.kvHead - params.firstKvHead) * params.rows - params.firstRow) * rules.topK * heads * kRowBytes;

    for (int tile = 0; tile < tiles; tile++) {
      waitForCopies<kStages - 2>();
      syncGroup<kSlices>(group);
      load(tile + kStages - 1);
      const int stage = tile % kStages;
      const uint32_t queries = ring + stage * 2 * kHalfStage;

      // scores[n]: keys lane / 4 and 8 more, rows 8 n + 2 (lane % 4) and 1 more.
      float scores[2][4] = {};
      float dProbabilities[2][4] = {};
#pragma unroll
      for (int k = 0; k < 8; k++) {
        const uint32_t at = (queries + straight) ^ k * 32;
        uint32_t fragment[4];
        loadMatrix(fragment, at);
        mma(scores[0], keyFragments[k], fragment[0], fragment[1]);
        mma(scores[1], keyFragments[k], fragment[2], fragment[3]);
        loadMatrix(fragment, at + kHalfStage);
        mma(dProbabilities[0], valueFragments[k], fragment[0], fragment[1]);
        mma(dProbabilities[1], valueFragments[k], fragment[2], fragment[3]);
      }
      uint32_t probabilities[4];
      uint32_t dScores[4];
#pragma unroll
      for (int n = 0; n < 2; n++) {
        const float* scalars = reinterpret_cast<const float*>(bytes + ownScalars) + stage * 2 * kRows + n * 8 + lane % 4 * 2;
        const float2 lse = *reinterpret_cast<const float2*>(scalars);
        const float2 delta = *reinterpret_cast<const float2*>(scalars + kRows);
        float p[4];
        float ds[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
          p[i] = exp2Fast(fmaf(scores[n][i], factor, -(i % 2 ? lse.y : lse.x) * kLog2E));
          ds[i] = p[i] * rules.scale * (dProbabilities[n][i] - (i % 2 ? delta.y : delta.x));
        }
        if (masked) {
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const int entry = entries[min(tile * tileEntries + ((n * 8 + lane % 4 * 2 + i % 2) >> headBits), count - 1)];
            if (keys.firstKey + lane / 4 + i / 2 * 8 > shift + entry / rules.topK) p[i] = ds[i] = 0.0f;
          }
        }
        probabilities[n * 2] = packBf16(p[0], p[1]);
        probabilities[n * 2 + 1] = packBf16(p[2], p[3]);
        dScores[n * 2] = packBf16(ds[0], ds[1]);
        dScores[n * 2 + 1] = packBf16(ds[2], ds[3]);
        if constexpr (!kAlone) {
#pragma unroll
          for (int half = 0; half < 2; half++) {
            const int key = slice * 16 + lane / 4 + half * 8;
            *reinterpret_cast<uint32_t*>(bytes + ownDScores + key * kRows * 2 + (n ^ swizzle(key)) * 16 + lane % 4 * 4) = dScores[n * 2 + half];
          }
        }
      }
#pragma unroll
      for (int n = 0; n < 8; n++) {
        const uint32_t at = (queries + transposed) ^ n * 32;
        uint32_t fragment[4];
        loadMatrixTransposed(fragment, at + kHalfStage);
        mma(dValues[2 * n], probabilities, fragment[0], fragment[1]);
        mma(dValues[2 * n + 1], probabilities, fragment[2], fragment[3]);
        loadMatrixTransposed(fragment, at);
        mma(dKeys[2 * n], dScores, fragment[0], fragment[1]);
        mma(dKeys[2 * n + 1], dScores, fragment[2], fragment[3]);
      }

      // dq of 32 dimensions at a time; a warp has 128 / slices of them.
      uint32_t left[kSlices][4];
      if constexpr (kAlone) {
#pragma unroll
        for (int i = 0; i < 4; i++) left[0][i] = transposeMatrix(dScores[i % 2 * 2 + i / 2]);
      } else {
        syncGroup<kSlices>(group);
#pragma unroll
        for (int k = 0; k < kSlices; k++) {
          const int key = k * 16 + lane % 8 + lane / 16 * 8;
          const int chunk = lane / 8 % 2 ^ swizzle(key);
          loadMatrixTransposed(left[k], shared + ownDScores + key * kRows * 2 + chunk * 16);
        }
      }
      unsigned char* targets[2];
      bool used[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = lane / 4 + half * 8;
        const int entry = __shfl_sync(kWholeWarp, gathered[0], row);
        targets[half] = dq + ((static_cast<int64_t>(entry) << headBits) + (row & (heads - 1))) * kRowBytes;
        used[half] = tile * tileEntries + (row >> headBits) < count;
      }
#pragma unroll
      for (int j = 0; j < 4 / kSlices; j++) {
        const int part = slice * (4 / kSlices) + j;
        float sums[4][4] = {};
#pragma unroll
        for (int k = 0; k < kSlices; k++) {
#pragma unroll
          for (int n = 0; n < 2; n++) {
            uint32_t fragment[4];
            loadMatrixTransposed(fragment, ((shared + ownKeys + transposed) ^ (part * 64 + n * 32)) + k * kTileBytes);
            mma(sums[2 * n], left[k], fragment[0], fragment[1]);
            mma(sums[2 * n + 1], left[k], fragment[2], fragment[3]);
          }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
          uint32_t values[4];
#pragma unroll
          for (int n = 0; n < 4; n++) values[n] = packBf16(sums[n][half * 2], sums[n][half * 2 + 1]);
          if (used[half]) storeStreaming(targets[half] + part * 64, values);
        }
      }
#pragma unroll
      for (int i = 0; i < kStages - 1; i++) gathered[i] = gathered[i + 1];
    }
    waitForCopies<0>();

    if (piece > 0) {
      float4* dk = partialOf(params, kSlices, range.z + piece - 1, slice, 0);
      float4* dv = partialOf(params, kSlices, range.z + piece - 1, slice, 1);
#pragma unroll
      for (int n = 0; n < 16; n++) {
        dk[n * kLanes] = make_float4(dKeys[n][0], dKeys[n][1], dKeys[n][2], dKeys[n][3]);
        dv[n * kLanes] = make_float4(dValues[n][0], dValues[n][1], dValues[n][2], dValues[n][3]);
      }
    } else if (tiles > 0 || params.last) {
      const bool final = params.last && range.w == 0;
      addSums(params.dkSums, params.dk, keys, rules.kvHeads, final, dKeys);
      addSums(params.dvSums, params.dv, keys, rules.kvHeads, final, dValues);
    }
    syncGroup<kSlices>(group);
  }
}

PHSA_KERNEL(selected_gradient_m16, SelectedGradientParams, kBlockThreads, selectedGradient<16>)
PHSA_KERNEL(selected_gradient_m32, SelectedGradientParams, kBlockThreads, selectedGradient<32>)
