import { checkEmbedding, checkEmbeddingBackward, type ModelOps, ShapeError } from '@phsa/core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'

/** Rows of a table, and the gradient of the table. On the host, where a row is one copy; the engines gather element by element. */
export function embeddingOps(memory: TfjsMemory): Pick<ModelOps, 'embedding' | 'embeddingBackward'> {
  const { owner } = memory
  return {
    embedding(table, ids) {
      memory.checkOpen()
      checkEmbedding(owner, table, ids)
      const [rows, width] = table.shape
      const wanted = memory.integers(ids)
      checkIds(wanted, rows)
      return memory.run(() => {
        const values = memory.host(table)
        const found = new Float32Array(wanted.length * width)
        for (const [index, id] of wanted.entries()) if (id >= 0) found.set(values.subarray(id * width, (id + 1) * width), index * width)
        return memory.fromHost(found, [wanted.length, width])
      })
    },

    embeddingBackward(dOut, ids, dTable) {
      memory.checkOpen()
      checkEmbeddingBackward(owner, dOut, ids, dTable)
      const [rows, width] = dTable.shape
      const wanted = memory.integers(ids)
      checkIds(wanted, rows)
      memory.run(() => {
        const sums = memory.writable(dTable)
        const changes = memory.host(dOut)
        for (let index = 0; index < wanted.length; index++) {
          if (wanted[index] < 0) continue
          const target = wanted[index] * width
          for (let column = 0; column < width; column++) sums[target + column] += changes[index * width + column]
        }
      })
    },
  }
}

function checkIds(ids: Int32Array, rows: number): void {
  for (const [index, id] of ids.entries()) {
    if (id < -1 || id >= rows)
      throw new ShapeError(`ids[${index}] is ${id}; the table has rows 0 to ${rows - 1}, and -1 is a row of zeros.`)
  }
}
