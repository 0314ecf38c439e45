import { ShapeError } from '../../errors/shape-error.js'
import type { Reals } from '../host-layout.js'
import { logSumExp } from '../softmax.js'
import { linear } from './linear.js'

/** Host form of `CrossEntropyInput`, with its extents. */
export interface CrossEntropyArrays {
  /** [T, E] */
  readonly hidden: Reals
  /** [V, E] */
  readonly head: Reals
  /** [T] */
  readonly targets: Int32Array
  /** [T] */
  readonly weights: Reals
  /** E */
  readonly width: number
}

/** Host form of `CrossEntropyOutput`. */
export interface CrossEntropyResult {
  /** Weighted sum of the token losses. */
  readonly loss: number
  /** [T], unweighted; 0 where the weight is 0. */
  readonly tokenLosses: Float64Array
}

/** Negative log-likelihood of each target under softmax(hidden Ht), a row at a time: logits are never whole in memory. */
export function crossEntropy(input: CrossEntropyArrays): CrossEntropyResult {
  return overTokens(input, () => undefined)
}

/** The loss with its gradients dHidden [T, E] and dHead [V, E]. */
export function crossEntropyBackward(input: CrossEntropyArrays): CrossEntropyResult & { dHidden: Float64Array; dHead: Float64Array } {
  const { hidden, head, targets, weights, width } = input
  const dHidden = new Float64Array(hidden.length)
  const dHead = new Float64Array(head.length)
  const result = overTokens(input, (token, logits, lse) => {
    for (const [id, logit] of logits.entries()) {
      const dLogit = weights[token] * (Math.exp(logit - lse) - (id === targets[token] ? 1 : 0))
      for (let index = 0; index < width; index++) {
        dHidden[token * width + index] += dLogit * head[id * width + index]
        dHead[id * width + index] += dLogit * hidden[token * width + index]
      }
    }
  })
  return { ...result, dHidden, dHead }
}

/** Visits each token of non-zero weight with its logits [V] and their log-sum-exp. */
function overTokens(
  { hidden, head, targets, weights, width }: CrossEntropyArrays,
  visit: (token: number, logits: Float64Array, lse: number) => void,
): CrossEntropyResult {
  const vocabulary = head.length / width
  const tokenLosses = new Float64Array(targets.length)
  let loss = 0
  for (const [token, target] of targets.entries()) {
    if (weights[token] === 0) continue
    if (target < 0 || target >= vocabulary) {
      throw new ShapeError(`targets[${token}] is ${target}; ids are 0 to ${vocabulary - 1}. Give a token without a target the weight 0.`)
    }
    const logits = linear(hidden.subarray(token * width, (token + 1) * width), head, { inputs: width, outputs: vocabulary })
    const lse = logSumExp(logits)
    tokenLosses[token] = lse - logits[target]
    loss += weights[token] * tokenLosses[token]
    visit(token, logits, lse)
  }
  return { loss, tokenLosses }
}
