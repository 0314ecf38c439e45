import type { SelectTopInput } from '@phsa/core'
import bestBlocksSource from '../../kernels/best_blocks.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import logSumsSource from '../../kernels/log_sums.wgsl?raw'
import selectTopSource from '../../kernels/select_top.wgsl?raw'
import sequencesSource from '../../kernels/sequences.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import type { AttentionHost } from './attention-host.js'
import { packedSequences, Rules, rulesOf, Sequences } from './call-params.js'
import { mostRanked } from './most-ranked.js'

/** `Params` of select_top.wgsl. */
export const SelectTopParams = { sequences: Sequences, rules: Rules, count: 'u32', maxBlocks: 'u32' } as const

const SELECT_TOP = {
  name: 'select_top',
  parts: [
    { file: 'grid.wgsl', source: gridSource },
    { file: 'sequences.wgsl', source: sequencesSource },
    { file: 'log_sums.wgsl', source: logSumsSource },
    { file: 'best_blocks.wgsl', source: bestBlocksSource },
    { file: 'select_top.wgsl', source: selectTopSource },
  ],
}

/** Threads of a workgroup: best_blocks.wgsl. */
const THREADS = 64

/** Writes the best blocks by given scores into the named rows of `selected` (spec 8). */
export function selectTop({ device, memory, numbers }: AttentionHost, { scores, rows, selected, layout, spec }: SelectTopInput): void {
  const [count] = rows.shape
  if (spec.topK === 0 || count === 0) return
  device.launch({
    kernel: SELECT_TOP,
    element: 'f32',
    constants: { THREADS, MOST_RANKED: mostRanked(spec.topK) },
    bindings: [read(numbers.ofLayout(layout)), read(memory.slice(scores)), read(memory.slice(rows)), write(memory.slice(selected))],
    params: packParams(SelectTopParams, {
      sequences: packedSequences(layout),
      rules: rulesOf(spec),
      count,
      maxBlocks: layout.maxBlocks,
    }),
    grid: gridOf(count * spec.kvHeads),
  })
}
