// selection_sample.wgsl: one sampled query of one KV head in the distillation loss (spec 10), shared by the loss and its gradients.

struct Params {
  sequences: Sequences,
  rules: Rules,
  count: u32,         // n
  maxBlocks: u32,
  coefficient: f32,
}

@group(0) @binding(8) var<uniform> params: Params;

/** Below this logarithm a share is nothing beside any other, and its inverse may be infinite. */
const LEAST_LOG_SHARE = -60.0;

/**
 * What a share p of one block adds to the gradient: p (T / (G P) - C), where P is the mean over the G heads of their shares of the block and
 * C = sum(T) / G. Shares sum to 1, so a constant changes no gradient; this one is what T / (G P) is where the loss is least, so that little is
 * left to cancel.
 */
struct BlockExcess {
  factor: f32,  // times exp(share - shift)
  shift: f32,
}

/** @param largest logarithm of a share of a head and sub-block @param sum of all shares of the block, each divided by the largest */
fn blockExcess(mass: f32, largest: f32, sum: f32, constant: f32) -> BlockExcess {
  if (!(mass > 0.0)) {
    return BlockExcess(-constant, 0.0);
  }
  if (largest < LEAST_LOG_SHARE) {
    return BlockExcess(mass / sum, largest);
  }
  return BlockExcess(mass / sum * exp(-largest) - constant, 0.0);
}

/** What the loss finds out about a query head of a sample, and the gradient of q for that of the representatives. */
struct SampleHead {
  largest: f32,   // score over the sub-blocks of all candidates
  sum: f32,       // of exp((score - largest) * scale)
  excesses: f32,  // sum over the sub-blocks of all candidates
}

/** What a sub-block of a block, with this logarithm of its share, adds to the sum of excesses. */
fn excessOf(excess: BlockExcess, share: f32) -> f32 {
  return excess.factor * exp(share - excess.shift);
}

/** sum(T) to divide by, or 0: then loss and gradients are 0. */
fn gradientFactor(total: f32) -> f32 {
  if (total == 0.0) {
    return 0.0;
  }
  return params.coefficient / total * params.rules.scale;
}

/** A sampled row's place. Its candidates do not depend on denseBelow, so that what is learned does not either. */
struct Sample {
  sequence: u32,  // S for none
  candidates: vec2u,
}

/** @param row of q, -1 for none */
fn sampleAt(row: i32) -> Sample {
  if (row < 0) {
    return Sample(params.sequences.count, vec2u());
  }
  let query = findQuery(u32(row));
  if (query.sequence == params.sequences.count) {
    return Sample(query.sequence, vec2u());
  }
  return Sample(query.sequence, candidateBlocks(query.position, 0u));
}

fn isEmpty(sample: Sample) -> bool {
  return sample.candidates.x == sample.candidates.y;
}
