// token_order.cu: tokens by rising id, those of one id in their own order; for the gradient of an embedding.
//
// A stable radix sort, 9 bits a pass: each tile of 1024 tokens counts its digits, one thread block turns all counts into places, digits first and then
// tiles, and each tile, by one warp that goes through it in order, puts its tokens there. Tokens without an id come last.
// Bound: latency of three launches a pass.
#include "warp.cuh"

struct TokenOrderParams {
  const int* ids;     // [T]: 0 .. V - 1, or -1
  const int* source;  // [T]: order of the pass before, or null
  int* target;        // [T]
  int* places;        // [digits, tiles]: counts, then the first place of each
  int tokens;         // T
  int tiles;
  int vocabulary;     // V
  int shift;          // of the pass's digit
};

/** DIGIT_BITS, TILE of token-order.ts. */
constexpr int kDigitBits = 9;
constexpr int kDigits = 1 << kDigitBits;
constexpr int kTile = 1024;
constexpr int kCountThreads = 256;
constexpr int kScanThreads = 1024;
/** Counts of a thread at once: 16 bytes. */
constexpr int kScanned = 4;

struct alignas(16) Counts {
  int values[kScanned];
};
/** Groups of 32 tokens that are under way at once. */
constexpr int kAhead = 8;

PHSA_DEVICE int tokenAt(const TokenOrderParams& params, int index) { return params.source ? params.source[index] : index; }

PHSA_DEVICE int digitOf(const TokenOrderParams& params, int token) {
  const int id = params.ids[token];
  return ((id < 0 ? params.vocabulary : id) >> params.shift) & (kDigits - 1);
}

PHSA_DEVICE void countDigits(const TokenOrderParams& params) {
  __shared__ int counts[kDigits];
  for (int digit = threadIdx.x; digit < kDigits; digit += kCountThreads) counts[digit] = 0;
  __syncthreads();
  const int start = blockIdx.x * kTile;
  const int end = min(start + kTile, params.tokens);
  for (int index = start + threadIdx.x; index < end; index += kCountThreads) atomicAdd(&counts[digitOf(params, tokenAt(params, index))], 1);
  __syncthreads();
  for (int digit = threadIdx.x; digit < kDigits; digit += kCountThreads) {
    params.places[static_cast<int64_t>(digit) * params.tiles + blockIdx.x] = counts[digit];
  }
}

/** The sum over the lanes before, and this one. */
PHSA_DEVICE int warpPrefix(int value) {
#pragma unroll
  for (int offset = 1; offset < kLanes; offset *= 2) {
    const int other = __shfl_up_sync(kWholeWarp, value, offset);
    if (laneIndex() >= offset) value += other;
  }
  return value;
}

PHSA_DEVICE void placeDigits(const TokenOrderParams& params) {
  __shared__ int warpSums[2][kLanes];
  const int64_t count = static_cast<int64_t>(params.tiles) * kDigits;
  int before = 0;
  int turn = 0;
  // The number of counts is a multiple of kScanned.
  for (int64_t start = 0; start < count; start += kScanThreads * kScanned, turn ^= 1) {
    Counts* places = reinterpret_cast<Counts*>(params.places + start) + threadIdx.x;
    const bool isOwn = start + threadIdx.x * kScanned < count;
    Counts counts = {};
    if (isOwn) counts = *places;
    int sum = 0;
#pragma unroll
    for (int k = 0; k < kScanned; k++) sum += counts.values[k];
    const int inWarp = warpPrefix(sum);
    if (laneIndex() == kLanes - 1) warpSums[turn][warpIndex()] = inWarp;
    __syncthreads();
    const int sums = warpPrefix(warpSums[turn][laneIndex()]);
    const int warpsBefore = __shfl_sync(kWholeWarp, sums, max(warpIndex() - 1, 0));
    int place = before + (warpIndex() == 0 ? 0 : warpsBefore) + inWarp - sum;
#pragma unroll
    for (int k = 0; k < kScanned; k++) {
      const int next = place + counts.values[k];
      counts.values[k] = place;
      place = next;
    }
    if (isOwn) *places = counts;
    before += __shfl_sync(kWholeWarp, sums, kLanes - 1);
  }
}

/** Lanes whose digit is the same. */
PHSA_DEVICE unsigned lanesOf(int digit) {
  unsigned lanes = kWholeWarp;
#pragma unroll
  for (int bit = 0; bit < kDigitBits; bit++) {
    const bool isSet = digit >> bit & 1;
    const unsigned set = __ballot_sync(kWholeWarp, isSet);
    lanes &= isSet ? set : ~set;
  }
  return lanes;
}

PHSA_DEVICE void orderTokens(const TokenOrderParams& params) {
  __shared__ int next[kDigits];
  for (int digit = laneIndex(); digit < kDigits; digit += kLanes) {
    next[digit] = params.places[static_cast<int64_t>(digit) * params.tiles + blockIdx.x];
  }
  __syncwarp();
  const int start = blockIdx.x * kTile;
  const int end = min(start + kTile, params.tokens);
  for (int first = start; first < end; first += kAhead * kLanes) {
    int tokens[kAhead], digits[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; k++) {
      const int index = first + k * kLanes + laneIndex();
      tokens[k] = index < end ? tokenAt(params, index) : -1;
    }
#pragma unroll
    for (int k = 0; k < kAhead; k++) digits[k] = tokens[k] < 0 ? 0 : digitOf(params, tokens[k]);
#pragma unroll
    for (int k = 0; k < kAhead; k++) {
      const unsigned sound = __ballot_sync(kWholeWarp, tokens[k] >= 0);
      const unsigned lanes = lanesOf(digits[k]) & sound;
      const unsigned earlier = lanes & ((1u << laneIndex()) - 1u);
      const int place = next[digits[k]] + __popc(earlier);
      __syncwarp();
      if (tokens[k] >= 0) {
        params.target[place] = tokens[k];
        if (earlier == 0) next[digits[k]] += __popc(lanes);
      }
      __syncwarp();
    }
  }
}

PHSA_KERNEL(count_token_digits, TokenOrderParams, kCountThreads, countDigits)
PHSA_KERNEL(place_token_digits, TokenOrderParams, kScanThreads, placeDigits)
PHSA_KERNEL(order_tokens, TokenOrderParams, kLanes, orderTokens)
