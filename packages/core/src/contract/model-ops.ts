import type { Tensor } from './tensor.js'

/** Rotary tables f32 [P, D / 2], from float64 on the host, so that large positions keep their phase (spec 1). */
export interface RopeTable {
  readonly cos: Tensor
  readonly sin: Tensor
}

/** RMS norm of each head and rotary position, for q (H = Hq) or k (H = Hkv). */
export interface QkNormRopeInput {
  /** [T, H, D]. */
  readonly x: Tensor
  /** RMS norm weight, [D]. */
  readonly weight: Tensor
  /** i32 [T], below P. */
  readonly positions: Tensor
  readonly rope: RopeTable
  readonly epsilon: number
}

/** A layer up to its attention: weights, and where the tokens stand. */
export interface ProjectHeadsInput {
  /** [T, E]. */
  readonly x: Tensor
  /** RMS norm weight of x, [E]. */
  readonly norm: Tensor
  /** [Hq * D, E]. */
  readonly q: Tensor
  /** [Hkv * D, E]. */
  readonly k: Tensor
  readonly v: Tensor
  /** RMS norm weights of a head, [D]. */
  readonly qNorm: Tensor
  readonly kNorm: Tensor
  /** i32 [T], below P. */
  readonly positions: Tensor
  readonly rope: RopeTable
  readonly epsilon: number
}

/** Queries [T, Hq, D] and keys [T, Hkv, D] after norm and rotation, and values [T, Hkv, D]. */
export interface ProjectedHeads {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
}

/** A layer from its attention on. */
export interface FinishLayerInput {
  /** What the layer began with, [T, E]. */
  readonly x: Tensor
  /** Of the attention, [T, Hq, D]. */
  readonly out: Tensor
  /** [E, Hq * D]. */
  readonly o: Tensor
  /** RMS norm weight of the sum, [E]. */
  readonly norm: Tensor
  /** [I, E]. */
  readonly gate: Tensor
  readonly up: Tensor
  /** [E, I]. */
  readonly down: Tensor
  readonly epsilon: number
}

/** Hidden states, output embedding and weighted targets of the language-model loss. */
export interface CrossEntropyInput {
  /** [T, E]. */
  readonly hidden: Tensor
  /** Output embedding, [V, E]. */
  readonly head: Tensor
  /** i32 [T], in 0 .. V - 1 wherever the weight is not 0. */
  readonly targets: Tensor
  /** f32 [T]: weight of each token in the loss; 0 leaves it out. 1/n on n targets makes the mean. */
  readonly weights: Tensor
}

/** The loss over all tokens and of each, in natural logarithm. */
export interface CrossEntropyOutput {
  /** f32 [1]: weighted sum of the token losses. */
  readonly loss: Tensor
  /** f32 [T]: negative log-likelihood of each target, unweighted; 0 where the weight is 0. */
  readonly tokenLosses: Tensor
}

/** One parameter and its optimizer state. */
export interface AdamwParameter {
  readonly value: Tensor
  readonly gradient: Tensor
  /** f32, first and second moment. */
  readonly mean: Tensor
  readonly variance: Tensor
  /** f32 copy of a 16-bit value; updated first, then rounded into `value`. */
  readonly master?: Tensor
  /** Decoupled weight decay; 0 for norms. */
  readonly weightDecay: number
}

/** Constants of AdamW: decay of the first and second moment, and what is added to the root of the second. */
export interface AdamwOptions {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
}

/**
 * What a decoder and its training step need besides attention. Calls queue work and return new tensors. A gradient that is passed in (`dWeight`,
 * `dTable`, `dHead`, `dx`) is added to, so that gradients accumulate over uses and micro-batches; inputs are otherwise never changed.
 *
 * Element types: activations share one; weights have it too, norm weights may be f32. A gradient that is added to has its weight's type or f32.
 * Arithmetic is in f32 or better with one rounding on store (f64 tensors: f64 throughout). Anything else is a `ShapeError`.
 * Ids, targets and positions out of range are the caller's mistake and not checked on the device.
 */
export interface ModelOps {
  /** Rows of a table: table [V, E], ids i32 [T] -> [T, E]. Also picks rows of activations. An id of -1 gives a row of zeros. */
  embedding(table: Tensor, ids: Tensor): Tensor
  /** Adds dOut [T, E] to the rows `ids` of dTable [V, E], the same way each time (no race decides the rounding); -1 is left out. */
  embeddingBackward(dOut: Tensor, ids: Tensor, dTable: Tensor): void

  /** x [T, E], weight [E]: x / sqrt(mean(x^2) + epsilon) * weight. */
  rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor
  /** sum = a + b, both [T, E], and the RMS norm of it as it is stored: one pass over memory where a backend can. */
  addRmsNorm(a: Tensor, b: Tensor, weight: Tensor, epsilon: number): { readonly sum: Tensor; readonly normed: Tensor }
  /** Returns dx; adds to dWeight [E]. */
  rmsNormBackward(dy: Tensor, x: Tensor, weight: Tensor, epsilon: number, dWeight: Tensor): Tensor

  /** y = x Wt: x [T, I], weight [O, I] -> [T, O]. */
  linear(x: Tensor, weight: Tensor): Tensor
  /** Returns dx [T, I]; adds to dWeight [O, I]. With `dx` given, adds to it and returns it: q, k and v share one. */
  linearBackward(dy: Tensor, x: Tensor, weight: Tensor, dWeight: Tensor, dx?: Tensor): Tensor

  /** RMS norm over each head, then rotation of the halves (i, i + D/2) as in Qwen3: [T, H, D]. */
  qkNormRope(input: QkNormRopeInput): Tensor
  /** Returns dx; adds to dWeight [D]. */
  qkNormRopeBackward(dy: Tensor, input: QkNormRopeInput, dWeight: Tensor): Tensor

  /** silu(gate) * up, all [T, I]. */
  swiglu(gate: Tensor, up: Tensor): Tensor
  swigluBackward(dy: Tensor, gate: Tensor, up: Tensor): { readonly dGate: Tensor; readonly dUp: Tensor }

  /** a + b, same shape. */
  add(a: Tensor, b: Tensor): Tensor

  /**
   * `composedHeads` without what only gradients read, in fewer launches; roundings in between may be left out. Optional, and undefined for what the
   * composition does as well: many tokens, for instance. Call `projectHeads` of this package, which takes what there is.
   */
  projectHeads?(input: ProjectHeadsInput): ProjectedHeads | undefined
  /** `composedLayerEnd` in the same way; [T, E]. Call `finishLayer`. */
  finishLayer?(input: FinishLayerInput): Tensor | undefined

  /** Fused with the output projection and worked in chunks: logits [T, V] are never whole in memory. */
  crossEntropy(input: CrossEntropyInput): CrossEntropyOutput
  /** Loss and gradients at once, because both need the logits. Returns dHidden [T, E]; adds to dHead [V, E]. */
  crossEntropyBackward(input: CrossEntropyInput, dHead: Tensor): CrossEntropyOutput & { readonly dHidden: Tensor }

  /**
   * f32 [2]: the global L2 norm of all gradients, and min(1, maxNorm / norm) as the clip scale. The scale is 0 when the norm is not
   * finite; `adamw` then leaves everything as it was.
   */
  gradientNorm(gradients: readonly Tensor[], maxNorm: number): Tensor

  /**
   * One AdamW step over all parameters, in place; the gradients stay as they are.
   * @param control f32 [3]: learning rate, 1 - beta1^t, 1 - beta2^t; t counts the steps that were taken
   * @param norm f32 [2] from `gradientNorm`
   */
  adamw(parameters: readonly AdamwParameter[], control: Tensor, norm: Tensor, options: AdamwOptions): void

  /**
   * Draws a token a row: logits [S, V] of any float type -> i32 [S]. The order is by falling probability, equal ones by rising id. Kept are: topK first ones
   * (0: all), of these the shortest run that holds topP of their mass, of these those of at least minP times the largest probability; never fewer than one.
   * The token is the first whose running share of the kept mass exceeds the uniform number.
   * @param control f32 [S, 5]: temperature (0: the likeliest), topK, topP, minP, uniform number in [0, 1) drawn by the caller
   */
  sample(logits: Tensor, control: Tensor): Tensor
}
