// selection_sample.cuh: one sampled query of one KV head in the distillation loss (spec 10), shared by the loss and its gradients.
#pragma once
#include "group_scores.cuh"
#include "sequences.cuh"

/** Below this logarithm a share is nothing beside any other, and its inverse may be infinite. */
constexpr float kLeastLogShare = -60.0f;

/**
 * What a share p of one block adds to the gradient: p (T / (G P) - C), where P is the mean over the G heads of their shares of the block and
 * C = sum(T) / G. Shares sum to 1, so a constant changes no gradient; this one is what T / (G P) is where the loss is least, so that little is
 * left to cancel.
 */
struct BlockExcess {
  float factor;  // times exp(share - shift)
  float shift;

  /** @param log of the largest share of a head and sub-block @param sum of all shares of the block, each divided by the largest */
  PHSA_DEVICE static BlockExcess make(float mass, float largest, float sum, float constant) {
    if (!(mass > 0.0f)) return BlockExcess{-constant, 0.0f};
    const float weight = mass / sum;
    if (largest < kLeastLogShare) return BlockExcess{weight, largest};
    return BlockExcess{weight * expf(-largest) - constant, 0.0f};
  }

  /** @param share the logarithm of p */
  PHSA_DEVICE float of(float share) const { return factor * expf(share - shift); }
};

/** The tensors of the loss and what its first kernel leaves for the others. */
struct SelectionLossInput {
  const void* q;               // [Tq, Hq, D]
  const float* reps;           // [Hkv, blocks * r, D]
  const float* mass;           // [Hkv, n, maxBlocks]
  const int* rows;             // [n], -1 for none
  HeadLog* headLogs;           // [Hkv, n, G]: of each head over the sub-blocks of all candidates
  BlockExcess* blockExcesses;  // [Hkv, n, maxBlocks]: read for candidates only
  float* headExcesses;         // [Hkv, n, G]: sum over the sub-blocks of all candidates
  float* partial;              // [Hkv, n, 2]: - sum(T log P) and sum(T)
  float* totals;               // [2]: the loss and sum(T) over all samples
  Sequences sequences;
  Rules rules;
  int count;  // n
  int maxBlocks;
};

/** A sampled row's place. Its candidates do not depend on denseBelow, so that what is learned does not either. */
struct SelectionSample {
  int row;
  int sequence;  // -1 for none
  BlockRange candidates;

  PHSA_DEVICE bool empty() const { return sequence < 0 || candidates.start >= candidates.end; }
};

PHSA_DEVICE SelectionSample selectionSample(const SelectionLossInput& input, int index) {
  SelectionSample sample;
  sample.row = input.rows[index];
  const Query query = findQuery(input.sequences, input.rules, sample.row);
  sample.sequence = query.sequence;
  sample.candidates = candidateBlocks(input.rules, query.position, 0);
  return sample;
}

/** sum(T) to divide by, or 0: then loss and gradients are 0. */
PHSA_DEVICE float gradientFactor(const SelectionLossInput& input, float coefficient) {
  return input.totals[1] == 0.0f ? 0.0f : coefficient / input.totals[1];
}
