// layer_shape.cuh: what the launch of all layers at once is given, and the sizes that follow from a model's shape (decode_layers.cuh).
#pragma once
#include "weight_ring.cuh"

/** A layer: weights as in ProjectHeadsInput and FinishLayerInput of the contract, and its cache as in AppendParams. */
struct LayerParams {
  const void* norm;
  const void* q;
  const void* k;
  const void* v;
  const void* qNorm;
  const void* kNorm;
  const void* o;
  const void* postNorm;
  const void* gate;
  const void* up;
  const void* down;
  void* keyPages;
  void* valuePages;
  float* reps;
  float* markedSums;
  int* marked;
  uint32_t* halfReps;
  const float* lambda;
  int initBlocks;
  int localBlocks;
};

struct DecodeLayersParams {
  LayerParams layers[24];
  const void* x;         // bf16 [E]
  void* y;               // bf16 [E]
  const int* positions;  // [1]
  const float* cos;      // [P, D / 2]
  const float* sin;      // [P, D / 2]
  const float* marks;    // [1]
  const int* queryStarts;  // [2]
  const int* keyLengths;   // [1]
  const int* pageTable;    // [pages]
  const int* topK;         // [1]
  const int* denseBelow;   // [1]
  uint64_t* exchange;      // zeros at first: the last tag, and places of words
  int layersUsed;
  int pages;
  int pageTokens;
  int mostTopK;
  int score;
  float epsilon;
};

/** Thread blocks of the launch. */
constexpr int kTeam = 128;
constexpr int kLayerWarps = 8;
constexpr int kLayerThreads = kLayerWarps * kLanes;
constexpr int kLayerDim = 128;
/** Keys of a warp's tile: a block. */
constexpr int kTileKeys = 16;
/** Chunks of weights that a thread block has room for. */
constexpr int kSlots = 12;
/** Contexts at most: 4,096 tokens in pages of a block or more. */
constexpr int kMostContextBlocks = 256;
/** Depth of a chunk that is a warp's. */
constexpr int kWarpDepth = kChunkDepth / kLayerWarps;

constexpr int larger(int a, int b) { return a > b ? a : b; }

template <int Width, int Inner, int Heads, int KvHeads>
struct LayerShape {
  static constexpr int kWidth = Width;
  static constexpr int kInner = Inner;
  static constexpr int kHeads = Heads;
  static constexpr int kKvHeads = KvHeads;
  static constexpr int kGroup = Heads / KvHeads;
  static constexpr int kAttended = Heads * kLayerDim;
  static constexpr int kKeyWidth = KvHeads * kLayerDim;
  /** Thread blocks of a KV head. */
  static constexpr int kParts = kTeam / KvHeads;
  /** Tiles of eight weight rows of a thread block, and chunks of each. */
  static constexpr int kHeadTiles = (kAttended + 2 * kKeyWidth) / kChunkRows / kTeam;
  static constexpr int kOutTiles = Width / kChunkRows / kTeam;
  static constexpr int kInnerTiles = Inner / kChunkRows / kTeam;
  static constexpr int kWidthChunks = Width / kChunkDepth;
  static constexpr int kAttendedChunks = kAttended / kChunkDepth;
  static constexpr int kInnerChunks = Inner / kChunkDepth;
  static constexpr int kHeadChunks = kHeadTiles * kWidthChunks;
  static constexpr int kOutChunks = kOutTiles * kAttendedChunks;
  static constexpr int kGateChunks = 2 * kInnerTiles * kWidthChunks;
  static constexpr int kDownChunks = kOutTiles * kInnerChunks;
  static constexpr int kLayerChunks = kHeadChunks + kOutChunks + kGateChunks + kDownChunks;
  static constexpr int kMostTiles = larger(kHeadTiles, larger(kOutTiles, 2 * kInnerTiles));
  static constexpr int kMostChunks = larger(kWidthChunks, larger(kAttendedChunks, kInnerChunks));
  /** Pairs of values of a KV head's attention, and how many of them each of its parts merges. */
  static constexpr int kPairs = kGroup * kLayerDim / 2;
  static constexpr int kSlice = kPairs / kParts;
  // Places of the exchange, after the last tag.
  static constexpr int kWordsOfX = 2;
  static constexpr int kWordsOfHeads = kWordsOfX + Width / 2;
  static constexpr int kWordsOfParts = kWordsOfHeads + kAttended / 2 + kKeyWidth;
  static constexpr int kWordsOfSums = kWordsOfParts + KvHeads * 2 * kPairs * kParts;
  static constexpr int kWordsOfAttended = kWordsOfSums + 2 * Heads * kParts;
  static constexpr int kWordsOfMiddle = kWordsOfAttended + kAttended / 2;
  static constexpr int kWordsOfInner = kWordsOfMiddle + Width / 2;
  static constexpr int kPlaces = kWordsOfInner + Inner / 2;
  static_assert(Width % (kChunkRows * kTeam) == 0 && kAttended % kChunkDepth == 0 && Inner % (kChunkRows * kTeam) == 0);
  static_assert(kHeadTiles * kTeam * kChunkRows == kAttended + 2 * kKeyWidth);
  static_assert(kParts == 16 && kLayerDim % (2 * kSlice) == 0 && kGroup + 2 <= kLayerWarps);
};
