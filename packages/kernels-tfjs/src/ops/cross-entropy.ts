import { type CrossEntropyInput, checkCrossEntropy, checkCrossEntropyBackward, type ModelOps, ShapeError } from '@phsa/core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'
import { type CrossEntropyGradients, type CrossEntropyWork, crossEntropyChunk } from './cross-entropy-chunk.js'

/** Logits of one chunk of tokens: 64 MB in all. */
const MOST_LOGITS = 2 ** 24

/** More tokens than this do not make a matrix product faster, and leave the cache; the wasm engine is slow to transpose a power of two of rows. */
const MOST_TOKENS = 520

/** Cross-entropy fused with the output projection, in chunks of tokens; tokens of weight 0 cost nothing. */
export function crossEntropyOps(memory: TfjsMemory): Pick<ModelOps, 'crossEntropy' | 'crossEntropyBackward'> {
  const { owner } = memory
  return {
    crossEntropy(input) {
      memory.checkOpen()
      checkCrossEntropy(owner, input)
      return memory.run(() => output(memory, overTokens(memory, input, undefined)))
    },

    crossEntropyBackward(input, dHead) {
      memory.checkOpen()
      checkCrossEntropyBackward(owner, input, dHead)
      return memory.run(() => {
        const gradients = { dHidden: new Float32Array(input.hidden.shape[0] * input.hidden.shape[1]), dHead: memory.writable(dHead) }
        const result = output(memory, overTokens(memory, input, gradients))
        return { ...result, dHidden: memory.fromHost(gradients.dHidden, input.hidden.shape) }
      })
    },
  }
}

interface HostLosses {
  readonly loss: number
  readonly tokenLosses: Float32Array
}

function output(memory: TfjsMemory, { loss, tokenLosses }: HostLosses) {
  return { loss: memory.fromHost(Float32Array.of(loss), [1]), tokenLosses: memory.fromHost(tokenLosses, [tokenLosses.length]) }
}

function overTokens(memory: TfjsMemory, input: CrossEntropyInput, gradients: CrossEntropyGradients | undefined): HostLosses {
  const [vocabulary, width] = input.head.shape
  const targets = memory.integers(input.targets)
  const weights = memory.host(input.weights).slice()
  const weighted = weightedTokens(targets, weights, vocabulary)
  const work: CrossEntropyWork = {
    hidden: () => memory.host(input.hidden),
    head: () => memory.host(input.head),
    targets,
    weights,
    vocabulary,
    width,
  }
  const tokenLosses = new Float32Array(targets.length)
  const size = Math.max(1, Math.min(MOST_TOKENS, Math.floor(MOST_LOGITS / Math.max(1, vocabulary))))
  let loss = 0
  for (let first = 0; first < weighted.length; first += size) {
    const tokens = weighted.subarray(first, first + size)
    const losses = crossEntropyChunk(work, tokens, gradients)
    for (const [index, token] of tokens.entries()) {
      tokenLosses[token] = losses[index]
      loss += weights[token] * losses[index]
    }
  }
  return { loss, tokenLosses }
}

/** Tokens whose weight is not 0. @throws ShapeError for a target of such a token that is no id */
function weightedTokens(targets: Int32Array, weights: Float32Array, vocabulary: number): Int32Array {
  const found: number[] = []
  for (const [token, target] of targets.entries()) {
    if (weights[token] === 0) continue
    if (target < 0 || target >= vocabulary) {
      throw new ShapeError(`targets[${token}] is ${target}; ids are 0 to ${vocabulary - 1}. Give a token without a target the weight 0.`)
    }
    found.push(token)
  }
  return Int32Array.from(found)
}
