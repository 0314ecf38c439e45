import type { Tensor } from '@phsa/core'
import embeddingSource from '../../kernels/embedding.wgsl?raw'
import longRunsSource from '../../kernels/embedding_long_runs.wgsl?raw'
import embeddingRunsSource from '../../kernels/embedding_runs.wgsl?raw'
import shortRunsSource from '../../kernels/embedding_short_runs.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import tokenRunsSource from '../../kernels/token_runs.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import { elementTypeOf, rowBytes, VECTOR_TYPES, vectorOf, vectorTypesWith } from './element-types.js'
import type { OpHost } from './op-host.js'
import { windowSlice, windowsOf } from './windows.js'

/** `Params` of embedding.wgsl. */
export const EmbeddingParams = { tokens: 'u32', vectors: 'u32', firstRow: 'u32', windowRows: 'u32', isFirst: 'u32' } as const
/** `Params` of token_runs.wgsl. */
export const TokenRunsParams = { tokens: 'u32' } as const
/** `Params` of embedding_runs.wgsl. */
export const EmbeddingRunsParams = { places: 'u32', vectors: 'u32', firstRow: 'u32', windowRows: 'u32' } as const

const GRID = { file: 'grid.wgsl', source: gridSource }
const TARGET_TYPES = vectorTypesWith('Target')
const EMBEDDING = { file: 'embedding.wgsl', source: embeddingSource }
const EMBEDDING_RUNS = { file: 'embedding_runs.wgsl', source: embeddingRunsSource }
const SHORT_RUNS = { file: 'embedding_short_runs.wgsl', source: shortRunsSource }
const LONG_RUNS = { file: 'embedding_long_runs.wgsl', source: longRunsSource }
const TOKEN_RUNS = { name: 'token_runs', parts: [GRID, { file: 'token_runs.wgsl', source: tokenRunsSource }] }
/** Threads of a workgroup. */
const THREADS = 256
/** LONG_RUN of embedding_runs.wgsl, and columns of a workgroup of embedding_long_runs.wgsl. */
const LONG_RUN = 32
const COLUMNS = 32
/** Bytes of a place in the order of tokens: token and length of a run. */
const RUN_BYTES = 8

/** Rows [T, E] of a table [V, E], which may be larger than a binding. */
export function embedding({ device, memory }: OpHost, table: Tensor, ids: Tensor): Tensor {
  const [vocabulary, width] = table.shape
  const [tokens] = ids.shape
  const rows = memory.make([tokens, width], table.dtype)
  const vector = vectorOf(width)
  const bytes = rowBytes(table)
  for (const window of windowsOf(vocabulary, bytes, device.gpu.limits.maxStorageBufferBindingSize)) {
    device.launch({
      kernel: { name: 'embedding', parts: [GRID, VECTOR_TYPES[vector], EMBEDDING] },
      element: elementTypeOf(table),
      constants: {},
      bindings: [read(windowSlice(memory.slice(table), window, bytes)), read(memory.slice(ids)), write(memory.slice(rows))],
      params: packParams(EmbeddingParams, {
        tokens,
        vectors: width / vector,
        firstRow: window.first,
        windowRows: window.count,
        isFirst: window.first === 0 ? 1 : 0,
      }),
      grid: gridOf(Math.ceil((tokens * (width / vector)) / THREADS)),
    })
  }
  return rows
}

/** Adds rows to a table's gradient, which may be larger than a binding, in an order that does not depend on a race. */
export function embeddingBackward({ device, memory }: OpHost, dOut: Tensor, ids: Tensor, dTable: Tensor): void {
  const [tokens, width] = dOut.shape
  const vector = vectorOf(width)
  const bytes = rowBytes(dTable)
  memory.scratch(tokens * RUN_BYTES, (runs) => {
    device.launch({
      kernel: TOKEN_RUNS,
      element: 'f32',
      constants: {},
      bindings: [read(memory.slice(ids)), write(runs)],
      params: packParams(TokenRunsParams, { tokens }),
      grid: gridOf(Math.ceil(tokens / THREADS)),
    })
    const types = TARGET_TYPES[elementTypeOf(dTable)][vector]
    for (const window of windowsOf(dTable.shape[0], bytes, device.gpu.limits.maxStorageBufferBindingSize)) {
      const shared = {
        element: elementTypeOf(dOut),
        constants: {},
        bindings: [read(memory.slice(dOut)), read(memory.slice(ids)), read(runs), write(windowSlice(memory.slice(dTable), window, bytes))],
        params: packParams(EmbeddingRunsParams, {
          places: tokens,
          vectors: width / vector,
          firstRow: window.first,
          windowRows: window.count,
        }),
      }
      device.launch({
        ...shared,
        kernel: { name: 'embedding_short_runs', parts: [GRID, types, EMBEDDING_RUNS, SHORT_RUNS] },
        grid: gridOf(Math.ceil((tokens * (width / vector)) / THREADS)),
      })
      device.launch({
        ...shared,
        kernel: { name: 'embedding_long_runs', parts: [GRID, types, EMBEDDING_RUNS, LONG_RUNS] },
        grid: gridOf(Math.ceil(tokens / LONG_RUN), Math.ceil(width / vector / COLUMNS)),
      })
    }
  })
}
