import { type PagedBatch, type PagedCacheOptions, subBlockTokens, type Tensor } from '@phsa/core'
import appendTokensSource from '../../kernels/append_tokens.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import sequencesSource from '../../kernels/sequences.wgsl?raw'
import type { AttentionHost } from '../attention/attention-host.js'
import { elementOf, Rules, rulesOf, Sequences } from '../attention/call-params.js'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import { pagedSequences } from './paged-sequences.js'
import type { PagedParts } from './webgpu-paged-cache.js'

/** `Params` of append_tokens.wgsl. */
export const AppendParams = { sequences: Sequences, rules: Rules, subBlocks: 'u32', markedSumsAt: 'u32', marksAt: 'u32' } as const

/** Threads of a workgroup of append_tokens.wgsl, each with four elements. */
const THREADS = 128

const APPEND = {
  name: 'append_tokens',
  parts: [
    { file: 'grid.wgsl', source: gridSource },
    { file: 'sequences.wgsl', source: sequencesSource },
    { file: 'append_tokens.wgsl', source: appendTokensSource },
  ],
}

/** New tokens: k and v [Tq, Hkv, D], marks f32 [Tq]. */
export interface NewTokens {
  readonly k: Tensor
  readonly v: Tensor
  readonly marks: Tensor
}

/** Queues the copy of new keys and values into their pages, and carries the running representatives on (spec 6). */
export function appendTokens(
  { device, memory, numbers }: AttentionHost,
  options: PagedCacheOptions,
  { keyPages, valuePages, sums, markedSumsAt, marksAt }: PagedParts,
  { k, v, marks }: NewTokens,
  batch: PagedBatch,
): void {
  const { spec, lambda } = options
  if (batch.queryTokens === 0) return
  // As many as the new tokens can touch: touchedSequence of append_tokens.wgsl.
  const subBlocks = Math.floor(batch.queryTokens / subBlockTokens(spec)) + 2 * batch.sequences
  const inputs = [k, v, marks, lambda].map((tensor) => read(memory.slice(tensor)))
  device.launch({
    kernel: APPEND,
    element: elementOf(spec),
    constants: { HEAD_DIM: spec.headDim },
    bindings: [read(numbers.ofBatch(batch)), ...inputs, write(keyPages), write(valuePages), write(sums)],
    params: packParams(AppendParams, {
      sequences: pagedSequences(batch, options),
      rules: rulesOf(spec, batch.maxTopK),
      subBlocks,
      markedSumsAt,
      marksAt,
    }),
    grid: gridOf(Math.ceil((subBlocks * spec.kvHeads * spec.headDim) / 4 / THREADS)),
  })
}
