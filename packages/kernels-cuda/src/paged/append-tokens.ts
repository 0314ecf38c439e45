import { type AttentionSpec, subBlockTokens } from '@phsa/core'
import { kernelName, rulesOf } from '../attention/call-params.js'
import { blocksOfWarps, THREADS } from '../attention/kernel-grid.js'
import type { KernelDevice } from '../attention/kernel-host.js'
import { AppendParams, type Sequences } from '../attention/kernel-params.js'
import { type ParamValues, packParams } from '../attention/param-layout.js'
import type { PagedAddresses } from './cuda-paged-cache.js'

/** New tokens by address: k and v [Tq, Hkv, D], marks f32 [Tq], lambda f32 [Hkv]. */
export interface NewTokens {
  readonly k: bigint
  readonly v: bigint
  readonly marks: bigint
  readonly lambda: bigint
  readonly sequences: ParamValues<typeof Sequences>
}

/** Queues the copy of new keys and values into their pages, and carries the running representatives on (spec 6). */
export function appendTokens(device: KernelDevice, spec: AttentionSpec, cache: PagedAddresses, tokens: NewTokens): void {
  const { sequences } = tokens
  if (sequences.queryTokens === 0) return
  const copyBlocks = blocksOfWarps(sequences.queryTokens * spec.kvHeads)
  // As many sub-blocks as the new tokens can touch: touchedSequence of append_tokens.cu.
  const sumBlocks = blocksOfWarps(Math.floor(sequences.queryTokens / subBlockTokens(spec)) + 2 * sequences.sequences)
  device.launch({
    kernel: kernelName('append_tokens', spec),
    grid: [copyBlocks + sumBlocks * spec.kvHeads, 1, 1],
    block: THREADS,
    overlaps: ['attend_', 'heads_rope'],
    params: packParams(AppendParams, { ...tokens, ...cache, rules: rulesOf(spec), copyBlocks, sumBlocks }),
  })
}
