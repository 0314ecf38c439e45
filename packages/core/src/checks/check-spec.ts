import type { Support } from '../contract/attention-backend.js'
import { type AttentionSpec, isDense } from '../contract/attention-spec.js'
import type { DType } from '../contract/tensor.js'
import { UnsupportedError } from '../errors/unsupported-error.js'
import { MAX_TOP_K } from '../phsa-config.js'
import type { TensorOwner } from './tensor-owner.js'

/** Whether a spec makes sense at all and has one of these element types (spec 1): what every backend asks before its own limits. */
export function validSpec(spec: AttentionSpec, dtypes: readonly DType[]): Support {
  const reason = problemOf(spec, dtypes)
  return reason === undefined ? { ok: true } : { ok: false, reason }
}

/** @throws UnsupportedError with the backend's reason */
export function checkSpec(owner: TensorOwner, spec: AttentionSpec): void {
  const support = owner.supports(spec)
  if (!support.ok) throw new UnsupportedError('attention-spec', `${owner.name}: ${support.reason}`)
}

function problemOf(spec: AttentionSpec, dtypes: readonly DType[]): string | undefined {
  const { heads, kvHeads, headDim, dtype, blockSize, initTokens, localTokens, topK, representatives, score, denseBelow } = spec
  const integers: [string, number, number][] = [
    ['heads', heads, 1],
    ['kvHeads', kvHeads, 1],
    ['headDim', headDim, 1],
    ['blockSize', blockSize, 1],
    ['initTokens', initTokens, 0],
    ['localTokens', localTokens, 1],
    ['topK', topK, 0],
    ['representatives', representatives, 1],
    ['denseBelow', denseBelow, 0],
  ]
  for (const [name, value, least] of integers) {
    if (!Number.isInteger(value) || value < least) return `${name} is ${value}; it must be an integer of at least ${least}.`
  }
  if (!dtypes.includes(dtype)) return `dtype is ${dtype}; there are ${dtypes.join(', ')}.`
  if (heads % kvHeads !== 0) return `heads is ${heads}; it must be a multiple of kvHeads, which is ${kvHeads}.`
  if (initTokens % blockSize !== 0) return `initTokens is ${initTokens}; it must be a multiple of blockSize, which is ${blockSize}.`
  // The window of a dense spec is no multiple of a block size like 48, and need not be.
  if (!isDense(spec) && (localTokens % blockSize !== 0 || localTokens < blockSize)) {
    return `localTokens is ${localTokens}; it must be a multiple of blockSize, which is ${blockSize}.`
  }
  if (topK > MAX_TOP_K) return `topK is ${topK}; at most ${MAX_TOP_K} blocks can be selected.`
  if (blockSize % representatives !== 0) return `representatives is ${representatives}; it must divide blockSize, which is ${blockSize}.`
  if (!['softmax', 'logit', 'overlap'].includes(score)) return `score is ${score}; it must be softmax, logit or overlap.`
  if (score === 'overlap' && blockSize !== 16 * representatives) {
    return `score overlap needs sub-blocks of 16 tokens; blockSize ${blockSize} with ${representatives} representatives makes them ${blockSize / representatives}.`
  }
  return undefined
}
