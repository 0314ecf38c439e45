import type { OpCase } from './op-case.js'
import { activation, integers, random } from './op-inputs.js'

/** Cross-entropy and its gradients: within one chunk, over many, and with logits far beyond what exp takes. */
export function crossEntropyCases(): OpCase[] {
  const small = inputsOf(23, 32, 301, 1, 0.5)
  const many = inputsOf(3, 8, 33_001, 1, 0.5)
  const nothing = { ...small, weights: { data: new Float32Array(23), shape: [23], kind: 'f32' } as const }
  return [
    ...both('cross-entropy', small),
    { name: 'cross-entropy-all-ignored', inputs: nothing, accumulators: { dHead: activation([301, 32]) }, run: backward },
    // More tokens and more ids than one chunk of logits has.
    ...both('cross-entropy-chunks', inputsOf(620, 16, 2600, 1, 0.5)),
    // More ids than one run of all thread blocks takes that share a row, and no whole run at the end; they share rows in bf16 alone.
    { name: 'cross-entropy-many-ids', inputs: many, accumulators: { dHead: activation(many.head.shape) }, run: backward, dtypes: ['bf16'] },
    // Logits of about 200 either way: exp overflows unless the largest is subtracted first.
    ...both('cross-entropy-far', inputsOf(29, 32, 301, 4, 9)),
  ]
}

function both(name: string, inputs: OpCase['inputs']): OpCase[] {
  return [
    { name, inputs, accumulators: {}, run: forward },
    { name: `${name}-backward`, inputs, accumulators: { dHead: activation(inputs.head.shape) }, run: backward },
  ]
}

/** T tokens of width E against V ids. A target is any number where the weight is 0. */
function inputsOf(T: number, E: number, V: number, hiddenScale: number, headScale: number): OpCase['inputs'] {
  const weights = Float32Array.from({ length: T }, (_, index) => (index % 4 === 1 ? 0 : 4 / (3 * T)))
  return {
    hidden: random('hidden', [T, E], hiddenScale),
    head: random('head', [V, E], headScale),
    targets: integers(Array.from(weights, (weight, index) => (weight === 0 ? -100 : (index * 53) % V))),
    weights: { data: weights, shape: [T], kind: 'f32' },
  }
}

const forward: OpCase['run'] = (ops, { hidden, head, targets, weights }) => ({ ...ops.crossEntropy({ hidden, head, targets, weights }) })

const backward: OpCase['run'] = (ops, { hidden, head, targets, weights, dHead }) => ({
  ...ops.crossEntropyBackward({ hidden, head, targets, weights }, dHead),
})
