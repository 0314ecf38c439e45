import { type AttentionSpec, denseSpec } from '../contract/attention-spec.js'
import { BASE_SPEC } from './base-spec.js'
import type { PagedCase, PagedSequence } from './paged-case.js'
import { seedOf } from './seed-of.js'

/** Cached sequences: splits, mixed batches, shared and reused pages, limits a sequence (spec 6, 11). */
export function pagedCases(): PagedCase[] {
  const wide = { ...BASE_SPEC, heads: 8, kvHeads: 1, headDim: 64, blockSize: 8, initTokens: 0, localTokens: 8, topK: 3 }
  return [
    single('splits', BASE_SPEC, 131, { lambda: [0.2, 0.9], dtypes: ['f32', 'bf16', 'f16'] }),
    single('splits-r4', { ...BASE_SPEC, representatives: 4 }, 97, { lambda: [0.2, 0.9] }),
    single('splits-g8-d64-m8', wide, 75, { lambda: [0.5], dtypes: ['f32', 'bf16', 'f16'] }),
    single('splits-m64-d128', { ...BASE_SPEC, heads: 2, kvHeads: 1, headDim: 128, blockSize: 64, localTokens: 64, initTokens: 0 }, 269, {
      lambda: [0.5],
      pageTokens: 64,
    }),
    single('splits-m32-two-blocks-a-page', { ...BASE_SPEC, blockSize: 32, initTokens: 32 }, 203, { pageTokens: 64 }),
    single('splits-logit', { ...BASE_SPEC, score: 'logit', topK: 3 }, 120),
    single('splits-overlap', { ...BASE_SPEC, score: 'overlap', blockSize: 32, representatives: 2, initTokens: 0, localTokens: 32 }, 190, {
      lambda: [1, 1],
    }),
    single('splits-ties', BASE_SPEC, 150, { inputs: 'ties', lambda: [1, 1] }),
    single('splits-trained', { ...BASE_SPEC, headDim: 64 }, 150, { inputs: 'trained', dtypes: ['f32', 'bf16', 'f16'] }),
    single('splits-g3', { ...BASE_SPEC, heads: 6 }, 90),
    single('splits-g16-d128', { ...BASE_SPEC, heads: 16, kvHeads: 1, headDim: 128 }, 117, { lambda: [0.25], dtypes: ['f32', 'bf16'] }),
    single('topk16', { ...BASE_SPEC, topK: 16 }, 187),
    single('topk0', { ...BASE_SPEC, topK: 0 }, 70),
    single('splits-steep', { ...BASE_SPEC, headDim: 64 }, 150, { inputs: 'steep', dtypes: ['f32', 'bf16', 'f16'] }),
    // More blocks than one tile of scores has.
    pagedCase(
      'long',
      { ...BASE_SPEC, heads: 2, kvHeads: 1, blockSize: 8, initTokens: 8, localTokens: 16 },
      [{ length: 2077, topK: 2, denseBelow: 0 }],
      {
        lambda: [0.4],
        schedules: { whole: [[2077]], 'decode at the end': [[2070], [1], [1], [5]] },
      },
    ),
    // More candidates than a warp has lanes, two each, at heads of a whole model.
    pagedCase(
      'decode-many-blocks-d128',
      { ...BASE_SPEC, headDim: 128, blockSize: 8, initTokens: 8, localTokens: 16, topK: 5 },
      [640, 90].map((length) => ({ length, topK: 5, denseBelow: 0 })),
      {
        dtypes: ['bf16'],
        schedules: { 'decode at the end': [[631, 81], ...Array.from({ length: 9 }, () => [1, 1])] },
      },
    ),
    // A dense layer of a sparse model: the batch asks for blocks and there are none to choose.
    pagedCase('dense-layer', denseSpec(BASE_SPEC), mixed(), {
      schedules: {
        whole: [[130, 52, 121, 18]],
        chunks: [
          [100, 51, 0, 0],
          [29, 1, 120, 18],
          [1, 0, 1, 0],
        ],
      },
      dtypes: ['f32', 'bf16', 'f16'],
    }),
    pagedCase('mixed', BASE_SPEC, mixed(), {
      lambda: [0.2, 0.9],
      dtypes: ['f32', 'bf16', 'f16'],
      schedules: {
        'decode beside prefill': [
          [90, 0, 0, 0],
          [1, 40, 0, 0],
          [1, 1, 100, 0],
          [1, 1, 1, 17],
          [37, 1, 16, 0],
          [0, 9, 4, 1],
        ],
        'one step': [[130, 52, 121, 18]],
      },
    }),
    pagedCase('mixed-limits', { ...BASE_SPEC, topK: 4 }, limited(), {
      schedules: {
        whole: [[140, 140, 140, 140]],
        chunks: [
          [60, 50, 70, 33],
          [79, 90, 69, 100],
          [1, 0, 1, 7],
        ],
        staggered: [
          [0, 0, 0, 140],
          [139, 0, 0, 0],
          [1, 100, 0, 0],
          [0, 40, 140, 0],
        ],
      },
    }),
    // So many queries at once that they can be worked in tiles of neighbours, beside a sequence that only decodes.
    ...(['softmax', 'logit'] as const).map((score) =>
      pagedCase(`prompts-${score}-g2-d128`, { ...BASE_SPEC, heads: 8, kvHeads: 4, headDim: 128, topK: 4, score }, prompts(), {
        lambda: [0.2, 0.9, 0.5, 1],
        dtypes: ['bf16'],
        schedules: {
          'one step': [[180, 30, 100, 30]],
          'decode beside prompts': [
            [10, 29, 0, 0],
            [169, 1, 99, 29],
            [1, 0, 1, 1],
          ],
        },
      }),
    ),
    pagedCase(
      'prompts-topk17-g4-d128',
      { ...BASE_SPEC, heads: 8, headDim: 128, initTokens: 0, localTokens: 16, topK: 17 },
      [{ length: 304, topK: 17, denseBelow: 0 }],
      { lambda: [0.2, 0.9], dtypes: ['bf16'], schedules: { chunks: [[48], [256]] } },
    ),
    pagedCase('reuse-after-numbers', BASE_SPEC, mixed(), {
      pagesHold: 'numbers',
      schedules: {
        chunks: [
          [100, 52, 64, 0],
          [30, 0, 57, 18],
        ],
      },
    }),
    pagedCase('reuse-after-nan', BASE_SPEC, mixed(), {
      pagesHold: 'nan',
      schedules: {
        chunks: [
          [100, 52, 64, 0],
          [29, 0, 56, 17],
          [1, 0, 1, 1],
        ],
      },
      dtypes: ['f32', 'bf16', 'f16'],
    }),
    pagedCase('shared-pages', BASE_SPEC, shared(), {
      schedules: {
        'one after the other': [
          [120, 0, 0],
          [0, 33, 0],
          [0, 1, 66],
          [11, 1, 1],
        ],
        'tokens one by one at the end': [[96, 0, 0], ...Array.from({ length: 35 }, () => [1, 1, 0]), [0, 0, 67]],
      },
    }),
  ]
}

function mixed(): PagedSequence[] {
  return [130, 52, 121, 18].map((length) => ({ length, topK: 2, denseBelow: 0 }))
}

/** The same length with different limits. */
function limited(): PagedSequence[] {
  return [
    { length: 140, topK: 1, denseBelow: 0 },
    { length: 140, topK: 4, denseBelow: 77 },
    { length: 140, topK: 0, denseBelow: 0 },
    { length: 140, topK: 3, denseBelow: 2 ** 30 },
  ]
}

/** Of several lengths and limits, one of them with nothing chosen and one with a dense beginning. */
function prompts(): PagedSequence[] {
  return [
    { length: 180, topK: 4, denseBelow: 0 },
    { length: 30, topK: 0, denseBelow: 0 },
    { length: 100, topK: 2, denseBelow: 77 },
    { length: 30, topK: 3, denseBelow: 2 ** 30 },
  ]
}

/** Two that go on from the first 64 tokens, or 32, of another. */
function shared(): PagedSequence[] {
  return [
    { length: 131, topK: 2, denseBelow: 0 },
    { length: 99, topK: 2, denseBelow: 0, shared: { sequence: 0, tokens: 64 } },
    { length: 99, topK: 1, denseBelow: 50, shared: { sequence: 0, tokens: 32 } },
  ]
}

/** One sequence: whole, in odd chunks, in blocks and a block less or more by one, and token by token after a start. */
function single(name: string, spec: AttentionSpec, length: number, settings: Partial<PagedCase> = {}): PagedCase {
  const m = spec.blockSize
  return pagedCase(name, spec, [{ length, topK: spec.topK, denseBelow: 0 }], {
    schedules: {
      whole: [[length]],
      chunks: chunks(length, [37]),
      'around blocks': chunks(length, [m - 1, 1, m, m + 1]),
      tokens: [...chunks(length - 21, [1, length]), ...Array.from({ length: 21 }, () => [1])],
    },
    ...settings,
  })
}

function pagedCase(name: string, spec: AttentionSpec, sequences: readonly PagedSequence[], settings: Partial<PagedCase>): PagedCase {
  return {
    name,
    spec,
    sequences,
    pageTokens: 32,
    lambda: [0.5, 0.5],
    inputs: 'normal',
    seed: seedOf(name),
    schedules: {},
    pagesHold: 'nothing',
    spare: { sequences: 1, rows: 3 },
    dtypes: ['f32'],
    ...settings,
  }
}

/** Steps of one sequence: the given sizes over and over, the last one cut to fit. */
function chunks(length: number, sizes: readonly number[]): number[][] {
  const steps: number[][] = []
  for (let done = 0, index = 0; done < length; index++) {
    const size = Math.min(sizes[index % sizes.length], length - done)
    steps.push([size])
    done += size
  }
  return steps
}
