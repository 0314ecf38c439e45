// selection_sample.cuh: one sampled query of one KV head in the distillation loss (spec 10), shared by the loss and its gradients.
#pragma once
#include "group_scores.cuh"
#include "sequences.cuh"

/** The tensors of the loss and what its first kernel leaves for the others. */
struct SelectionLossInput {
  const void* q;      // [Tq, Hq, D]
  const float* reps;  // [Hkv, blocks * r, D]
  const float* mass;  // [Hkv, n, maxBlocks]
  const int* rows;    // [n], -1 for none
  float* headLogs;    // [Hkv, n, G]: log-sum-exp of each head over the sub-blocks of all candidates
  float* blockLogs;   // [Hkv, n, maxBlocks]: log of the sum over heads and sub-blocks of their shares; read for candidates only
  float* headTotals;  // [Hkv, n, G]: sum over the sub-blocks of T p / (G P)
  float* partial;     // [Hkv, n, 2]: - sum(T log P) and sum(T)
  float* totals;      // [2]: the loss and sum(T) over all samples
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

/** T p / (G P) of one sub-block: how much of its block's loss it answers for. @param share log of the head's softmax */
PHSA_DEVICE float answer(float mass, float share, float blockLog) { return mass > 0.0f ? mass * expf(share - blockLog) : 0.0f; }

/** sum(T) to divide by, or 0: then loss and gradients are 0. */
PHSA_DEVICE float gradientFactor(const SelectionLossInput& input, float coefficient) {
  return input.totals[1] == 0.0f ? 0.0f : coefficient / input.totals[1];
}
