import { bytesPerElement, checkEmbedding, checkEmbeddingBackward, elementCount, type ModelOps, type Tensor } from '@phsa/core'
import { blocksOfWarps, THREADS } from '../attention/kernel-grid.js'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { vectorOf } from './elements.js'
import { EmbeddingBackwardParams, EmbeddingParams } from './op-params.js'
import { withTokenOrder } from './token-order.js'

/** Bytes that embedding.cu copies at once, the largest first. */
const UNITS = [16, 4, 2]
/** kChunk, kColumnThreads of embedding_backward.cu, and the threads that join runs: a warp of columns. */
const CHUNK = 32
const COLUMN_THREADS = 128
const JOIN_THREADS = 256
const JOIN_COLUMN_THREADS = 32

/** Rows of a table, and the gradient of the table. */
export function embeddingOps(device: KernelDevice, memory: KernelMemory): Pick<ModelOps, 'embedding' | 'embeddingBackward'> {
  const { owner } = memory
  return {
    embedding(table, ids) {
      memory.checkOpen()
      checkEmbedding(owner, table, ids)
      const width = table.shape[1]
      const [tokens] = ids.shape
      const rowBytes = width * bytesPerElement[table.dtype]
      const unit = UNITS.find((bytes) => rowBytes % bytes === 0) ?? UNITS[UNITS.length - 1]
      return memory.scope(() => {
        const rows = memory.make([tokens, width], table.dtype)
        device.launch({
          kernel: `embedding_${unit}`,
          grid: [blocksOfWarps(tokens), 1, 1],
          block: THREADS,
          params: packParams(EmbeddingParams, {
            table: memory.address(table),
            ids: memory.address(ids),
            rows: memory.address(rows),
            tokens,
            units: rowBytes / unit,
          }),
        })
        return rows
      })
    },

    embeddingBackward(dOut, ids, dTable) {
      memory.checkOpen()
      checkEmbeddingBackward(owner, dOut, ids, dTable)
      if (elementCount(dOut.shape) === 0) return
      withTokenOrder(device, memory, ids, dTable.shape[0], (order) => addRows(device, memory, { dOut, ids, order, dTable }))
    },
  }
}

interface RowSums {
  readonly dOut: Tensor
  readonly ids: Tensor
  /** Address of the tokens' places by id. */
  readonly order: bigint
  readonly dTable: Tensor
}

function addRows(device: KernelDevice, memory: KernelMemory, { dOut, ids, order, dTable }: RowSums): void {
  const [tokens, width] = dOut.shape
  const chunks = Math.ceil(tokens / CHUNK)
  const launch = (kernel: string, vector: number, block: number, columnThreads: number, params: Uint8Array) => {
    const isWhole = width % vector === 0
    device.launch({
      kernel: `${kernel}_${isWhole ? 'vector' : 'any'}`,
      grid: [chunks, Math.ceil(width / (columnThreads * (isWhole ? vector : 1))), 1],
      block,
      params,
    })
  }
  memory.scratch(chunks * 2 * width * Float32Array.BYTES_PER_ELEMENT, ({ address: partials }) => {
    const params = packParams(EmbeddingBackwardParams, {
      dOut: memory.address(dOut),
      ids: memory.address(ids),
      order,
      dTable: memory.address(dTable),
      partials,
      tokens,
      width,
    })
    launch(`embedding_backward_${dOut.dtype}_${dTable.dtype}`, vectorOf(dOut), COLUMN_THREADS, COLUMN_THREADS, params)
    launch(`embedding_join_${dTable.dtype}`, vectorOf(dTable), JOIN_THREADS, JOIN_COLUMN_THREADS, params)
  })
}
