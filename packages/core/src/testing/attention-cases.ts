import { type AttentionSpec, denseSpec } from '../contract/attention-spec.js'
import type { AttentionCase, AttentionCheckName, TestedDType } from './attention-case.js'
import { BASE_SPEC } from './base-spec.js'
import { seedOf } from './seed-of.js'

const FORWARD = ['pool', 'select', 'attend'] as const
const TRAINING = [...FORWARD, 'attend-backward'] as const
const ALL = [...TRAINING, 'pool-backward', 'select-top', 'block-mass', 'selection-loss'] as const
const SINGLE: readonly TestedDType[] = ['f32']
const EVERY: readonly TestedDType[] = ['f32', 'bf16', 'f16']

type Settings = Partial<Omit<AttentionCase, 'name' | 'spec' | 'seed' | 'keyLengths'>>

/** Every packed attention case of the suite (spec 11). */
export function attentionCases(): AttentionCase[] {
  return [...lengthCases(), ...shapeCases(), ...optionCases(), ...layoutCases(), ...inputCases()]
}

function entry(name: string, spec: Partial<AttentionSpec>, lengths: readonly number[], settings: Settings = {}): AttentionCase {
  const defaults = { lambda: 0.5, inputs: 'normal', dtypes: SINGLE, checks: TRAINING, seed: seedOf(name) } as const
  return { name, spec: { ...BASE_SPEC, ...spec }, keyLengths: lengths, ...defaults, ...settings }
}

/** 1, m - 1, m, m + 1 and lengths that are no multiple of anything, for every block size. */
function lengthCases(): AttentionCase[] {
  const blockSizes = [
    { m: 8, init: 8, local: 16, lengths: [1, 7, 8, 9, 53] },
    { m: 16, init: 16, local: 32, lengths: [1, 15, 16, 17, 101] },
    { m: 32, init: 32, local: 32, lengths: [1, 31, 32, 33, 171] },
    { m: 64, init: 0, local: 64, lengths: [1, 63, 64, 65, 299] },
  ]
  return blockSizes.flatMap(({ m, init, local, lengths }) =>
    lengths.map((length) =>
      entry(`m${m}-t${length}`, { blockSize: m, initTokens: init, localTokens: local, heads: 2, kvHeads: 1 }, [length], {
        dtypes: length === m + 1 || length > 2 * m ? EVERY : SINGLE,
        checks: length > 2 * m ? ALL : TRAINING,
      }),
    ),
  )
}

/** Group sizes and head dimensions. */
function shapeCases(): AttentionCase[] {
  const shape = (group: number, kvHeads: number, headDim: number, length: number, settings: Settings = {}) =>
    entry(`g${group}-h${kvHeads}-d${headDim}-t${length}`, { heads: group * kvHeads, kvHeads, headDim }, [length], settings)
  return [
    shape(1, 1, 64, 131, { checks: ALL }),
    shape(1, 4, 32, 97),
    shape(2, 2, 64, 131, { dtypes: EVERY, checks: ALL }),
    shape(2, 8, 128, 93, { dtypes: EVERY }),
    shape(2, 1, 128, 203, { dtypes: EVERY, checks: ALL }),
    shape(3, 2, 64, 119, { dtypes: EVERY, checks: ALL }),
    shape(3, 1, 128, 77),
    shape(4, 2, 64, 150, { dtypes: EVERY, checks: ALL }),
    shape(4, 1, 32, 203),
    shape(8, 1, 64, 115, { dtypes: EVERY, checks: ALL }),
    shape(8, 2, 128, 85),
    shape(16, 1, 128, 99, { dtypes: EVERY, checks: ALL }),
    shape(16, 2, 64, 83),
    entry('g16-h1-d64-m64-t263', { heads: 16, kvHeads: 1, headDim: 64, blockSize: 64, initTokens: 0, localTokens: 64, topK: 1 }, [263], {
      dtypes: EVERY,
      checks: FORWARD,
    }),
    entry('long-t709', { heads: 2, kvHeads: 1, headDim: 64, topK: 4 }, [709], { dtypes: EVERY }),
    entry('long-m8-t677', { heads: 2, kvHeads: 1, blockSize: 8, initTokens: 8, localTokens: 24, topK: 16 }, [677]),
  ]
}

/** The parameters of spec 1, one or two at a time. */
function optionCases(): AttentionCase[] {
  const checks: readonly AttentionCheckName[] = ALL
  return [
    entry('topk0', { topK: 0 }, [150]),
    entry('topk1', { topK: 1 }, [150], { checks }),
    entry('topk3', { topK: 3 }, [205], { dtypes: EVERY }),
    entry('topk16', { topK: 16 }, [437], { dtypes: EVERY }),
    entry('topk16-short', { topK: 16 }, [123], { checks }),
    entry('topk64', { topK: 64, heads: 2, kvHeads: 1, blockSize: 8, initTokens: 0, localTokens: 8 }, [611], { checks: FORWARD }),
    entry('init0', { initTokens: 0 }, [171], { dtypes: EVERY, checks }),
    entry('init0-local16', { initTokens: 0, localTokens: 16, topK: 3 }, [140], { checks }),
    entry('init64-local16', { initTokens: 64, localTokens: 16 }, [190], { checks }),
    entry('init48-local80', { initTokens: 48, localTokens: 80, topK: 1 }, [230]),
    entry('r2', { representatives: 2 }, [150], { dtypes: EVERY, checks }),
    entry('r4', { representatives: 4 }, [155], { checks: [...checks, 'chunks'] }),
    entry('r4-m64', { representatives: 4, blockSize: 64, initTokens: 64, localTokens: 64 }, [403], { checks }),
    entry('r8-m8', { representatives: 8, blockSize: 8, initTokens: 0, localTokens: 8 }, [61], { checks }),
    entry('logit', { score: 'logit', topK: 3 }, [180], { dtypes: EVERY, checks: [...FORWARD, 'selection-loss', 'chunks'] }),
    entry('logit-r2', { score: 'logit', representatives: 2 }, [163], { checks: [...FORWARD, 'selection-loss'] }),
    entry('logit-g8', { score: 'logit', heads: 8, kvHeads: 1, headDim: 64, topK: 1 }, [210], { checks: FORWARD }),
    entry('overlap-m16', { score: 'overlap', initTokens: 0, localTokens: 16 }, [187], { lambda: 1, checks: FORWARD, dtypes: EVERY }),
    entry('overlap-m32', { score: 'overlap', blockSize: 32, representatives: 2, initTokens: 32 }, [245], {
      lambda: 1,
      checks: [...FORWARD, 'selection-loss', 'chunks'],
    }),
    entry('overlap-m64', { score: 'overlap', blockSize: 64, representatives: 4, initTokens: 0, localTokens: 64 }, [463], {
      lambda: 1,
      checks: FORWARD,
    }),
    entry('lambda0', {}, [150], { lambda: 0, checks }),
    entry('lambda1', {}, [150], { lambda: 1, checks }),
    entry('lambda-per-head', {}, [150], { lambda: [0.25, 0.875], dtypes: EVERY, checks: [...checks, 'chunks'] }),
    entry('lambda-per-head-r2', { representatives: 2, kvHeads: 4 }, [117], { lambda: [0, 0.3, 0.7, 1], checks }),
    entry('dense-below40', { denseBelow: 40 }, [150], { checks }),
    entry('dense-below129', { denseBelow: 129, initTokens: 0, localTokens: 16 }, [203], { dtypes: EVERY, checks: [...checks, 'chunks'] }),
    entry('dense-below-all', { denseBelow: 1000 }, [150]),
    entry('dense', denseSpec(BASE_SPEC), [150], { checks: ['attend', 'attend-backward', 'block-mass'], dtypes: EVERY }),
    entry('dense-g8-packed', { ...denseSpec(BASE_SPEC), heads: 8, kvHeads: 1, headDim: 64 }, [61, 0, 1, 90], {
      checks: ['attend', 'attend-backward'],
    }),
    entry('window-covers-all', { localTokens: 256 }, [150]),
  ]
}

/** Packed sequences, queries at the end of cached keys, and capacities larger than what is used. */
function layoutCases(): AttentionCase[] {
  const padded = { sequences: 6, queryTokens: 200, keyTokens: 210, blocks: 20, maxBlocks: 12, maxQueries: 95 }
  return [
    entry('packed', {}, [70, 17, 1, 90], { dtypes: EVERY, checks: [...ALL, 'chunks'] }),
    entry('packed-empty', {}, [0, 40, 0, 17, 1, 90, 0], { checks: ALL, dtypes: EVERY }),
    entry('packed-m8', { blockSize: 8, initTokens: 0, localTokens: 8, topK: 3 }, [33, 8, 7, 9, 50], { checks: ALL }),
    entry('packed-r2-per-head', { representatives: 2 }, [53, 0, 97], { lambda: [0.1, 0.6], checks: ALL }),
    ...overlapLayouts(),
    entry('packed-64', { blockSize: 64, initTokens: 0, localTokens: 64, headDim: 64 }, [200, 65, 130]),
    entry('decode', {}, [150], { queryLengths: [1], checks: [...ALL, 'nan-poison'], dtypes: EVERY }),
    entry('decode-batch', {}, [150, 31, 1, 97], { queryLengths: [1, 1, 1, 1], checks: [...TRAINING, 'nan-poison'] }),
    entry('chunk-end', { topK: 1 }, [220], { queryLengths: [37], checks: [...ALL, 'nan-poison'], dtypes: EVERY }),
    entry('chunk-mixed', {}, [150, 0, 60, 203], { queryLengths: [20, 0, 1, 9], checks: [...ALL, 'nan-poison'] }),
    entry('chunk-no-query', {}, [80, 150], { queryLengths: [0, 11], checks: [...TRAINING, 'nan-poison'] }),
    entry('chunk-m64', { blockSize: 64, initTokens: 0, localTokens: 64, topK: 1, heads: 8, kvHeads: 2, headDim: 128 }, [451], {
      queryLengths: [19],
      checks: [...TRAINING, 'nan-poison'],
      dtypes: EVERY,
    }),
    ...longChunks(),
    entry('chunk-dense-below', { denseBelow: 100, initTokens: 0 }, [121], { queryLengths: [40], checks: ALL }),
    entry('capacity', {}, [70, 17, 1, 90], { capacity: padded, checks: ALL, dtypes: EVERY }),
    entry('capacity-decode', {}, [150, 31], { queryLengths: [1, 3], capacity: { ...padded, queryTokens: 8, maxQueries: 4 }, checks: ALL }),
    entry('capacity-empty', {}, [0], { capacity: { sequences: 3, queryTokens: 20, keyTokens: 40, blocks: 4, maxBlocks: 3 } }),
    entry('capacity-r4-per-head', { representatives: 4, blockSize: 32, localTokens: 32, initTokens: 0 }, [90, 45], {
      capacity: { sequences: 3, queryTokens: 140, keyTokens: 150, blocks: 8, maxBlocks: 4 },
      lambda: [1, 0.2],
      checks: ALL,
    }),
    entry('no-tokens', {}, [0, 0]),
  ]
}

/** Kernels of the overlap baseline stop at a sequence's border: block 0 has none before it. */
function overlapLayouts(): AttentionCase[] {
  const short = { score: 'overlap', initTokens: 0, localTokens: 16 } as const
  const long = { score: 'overlap', blockSize: 64, representatives: 4, initTokens: 0, localTokens: 64 } as const
  const capacity = { sequences: 5, queryTokens: 320, keyTokens: 330, blocks: 24, maxBlocks: 12, maxQueries: 180 }
  return [
    entry('overlap-packed', short, [170, 33, 0, 90], { lambda: 1, checks: [...FORWARD, 'chunks'], dtypes: EVERY }),
    entry('overlap-packed-capacity', short, [170, 33, 0, 90], { lambda: 1, checks: FORWARD, capacity }),
    entry('overlap-m64-chunk', long, [470, 233, 390], { queryLengths: [50, 233, 70], lambda: 1, checks: FORWARD }),
  ]
}

/** More blocks than one tile of scores has, for few queries and for many. */
function longChunks(): AttentionCase[] {
  return [
    entry('decode-long', {}, [20_011, 9], {
      queryLengths: [3, 1],
      checks: ['select', 'attend', 'block-mass', 'selection-loss', 'nan-poison'],
      dtypes: ['f32', 'bf16'],
    }),
    entry('chunk-long-m8', { blockSize: 8, initTokens: 8, localTokens: 24, topK: 5 }, [2771, 40], {
      queryLengths: [133, 40],
      checks: [...TRAINING, 'select-top', 'block-mass', 'selection-loss'],
      dtypes: EVERY,
    }),
  ]
}

/** Inputs that are hard in one way each. */
function inputCases(): AttentionCase[] {
  return [
    entry('ties', {}, [171], { inputs: 'ties', lambda: 1, dtypes: EVERY, checks: TRAINING }),
    entry('ties-logit', { score: 'logit', topK: 3 }, [171], { inputs: 'ties', lambda: 1, checks: FORWARD }),
    entry('ties-r2-init0', { representatives: 2, initTokens: 0, topK: 3 }, [150], { inputs: 'ties', lambda: 1, checks: FORWARD }),
    entry('ties-g16', { heads: 16, kvHeads: 1, topK: 3 }, [170], { inputs: 'ties', lambda: 1, checks: FORWARD }),
    entry('trained', { headDim: 64 }, [230], { inputs: 'trained', dtypes: EVERY, checks: ALL }),
    entry('trained-g8-d128', { heads: 8, kvHeads: 1, headDim: 128, topK: 3 }, [190], { inputs: 'trained', dtypes: EVERY, checks: ALL }),
    entry('trained-packed-r2', { representatives: 2, topK: 1 }, [120, 77], { inputs: 'trained', checks: ALL }),
    entry('steep', { headDim: 64 }, [230], { inputs: 'steep', dtypes: EVERY, checks: [...TRAINING, 'block-mass', 'selection-loss'] }),
    entry('steep-g8-d128', { heads: 8, kvHeads: 1, headDim: 128, topK: 3 }, [150], { inputs: 'steep', dtypes: EVERY, checks: TRAINING }),
    entry('equal-values', {}, [140], { inputs: 'equal-values', dtypes: EVERY, checks: ['attend', 'attend-backward'] }),
  ]
}
