import { type Attention, elementCount, type Memory, type ModelOps, type PagedAttention, type Tensor } from '@phsa/core'

/** What kind of work a call is, and how many FLOPs its matrix products take. */
export interface CallClass {
  readonly name: string
  readonly flops: number
}

/** For each method of an interface, the class of a call by its arguments. */
export type CallClasses<T> = {
  readonly [Name in keyof T]: T[Name] extends (...args: infer Args) => unknown ? (...args: Args) => CallClass : never
}

/** Memory operations that put work into the GPU's queue. */
export type QueuedMemory = Pick<Memory, 'upload' | 'write' | 'alloc' | 'zero' | 'copy'>
/** Paged calls that do. */
export type QueuedPaged = Omit<PagedAttention, 'createCache'>

const plain = (name: string) => () => ({ name, flops: 0 })

export const MEMORY_CLASSES: CallClasses<QueuedMemory> = {
  upload: plain('memory'),
  write: plain('memory'),
  alloc: plain('memory'),
  zero: plain('memory'),
  copy: plain('memory'),
}

export const ATTENTION_CLASSES: CallClasses<Attention> = {
  poolBlocks: plain('pool'),
  poolBlocksBackward: plain('pool backward'),
  selectBlocks: plain('select'),
  selectTop: plain('select'),
  attend: plain('attend'),
  attendBackward: plain('attend backward'),
  blockMass: plain('distillation'),
  selectionLoss: plain('distillation'),
  selectionLossBackward: plain('distillation'),
}

export const PAGED_CLASSES: CallClasses<Required<QueuedPaged>> = {
  append: plain('append'),
  selectBlocks: plain('select'),
  attend: plain('attend'),
  step: plain('attend'),
}

/** @param head the output embedding [V, E], whose products are told apart from the layers' */
export function opClasses(head: { readonly vocabSize: number }): CallClasses<Required<ModelOps>> {
  const isHead = (weight: Tensor) => weight.shape[0] === head.vocabSize
  return {
    embedding: plain('embedding'),
    embeddingBackward: plain('embedding backward'),
    rmsNorm: plain('rmsNorm'),
    addRmsNorm: plain('rmsNorm'),
    rmsNormBackward: plain('rmsNorm backward'),
    linear: (x, weight) => ({ name: isHead(weight) ? 'head' : 'linear', flops: productFlops(x, weight) }),
    // One product for dx, one for dWeight.
    linearBackward: (_dy, x, weight) => ({ name: 'linear backward', flops: 2 * productFlops(x, weight) }),
    qkNormRope: plain('qkNormRope'),
    qkNormRopeBackward: plain('qkNormRope backward'),
    swiglu: plain('swiglu'),
    swigluBackward: plain('swiglu backward'),
    add: plain('add'),
    projectHeads: ({ x, q, k, v }) => ({
      name: 'projectHeads',
      flops: [q, k, v].reduce((sum, weight) => sum + productFlops(x, weight), 0),
    }),
    finishLayer: ({ x, o, gate, up, down }) => ({
      name: 'finishLayer',
      flops: [o, gate, up, down].reduce((sum, weight) => sum + productFlops(x, weight), 0),
    }),
    crossEntropy: ({ hidden, head }) => ({ name: 'cross-entropy', flops: productFlops(hidden, head) }),
    // The logits, and a product for each gradient.
    crossEntropyBackward: ({ hidden, head }) => ({ name: 'cross-entropy', flops: 3 * productFlops(hidden, head) }),
    gradientNorm: plain('gradient norm'),
    adamw: plain('adamw'),
    sample: plain('sample'),
  }
}

/** Of x [T, I] with a weight [O, I]. */
function productFlops(x: Tensor, weight: Tensor): number {
  return 2 * x.shape[0] * elementCount(weight.shape)
}
