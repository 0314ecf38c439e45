import { HostPagedCache } from '../../src/host-paged-cache.js'
import { slotOf } from '../../src/reference/paged-batch.js'
import type { Mutant } from './mutant.js'

/** Wrong handling of what outlives a call: accumulators and caches. */
export const stateMutants: readonly Mutant[] = [
  {
    name: 'accumulation overwrites',
    caughtBy: ['f32/pool-backward/*', 'f32/selection-loss/*', 'f32/ops/*backward*'],
    mutate: ({ attention, memory, ops }) => ({
      attention: {
        poolBlocksBackward: (input) => {
          memory.zero(input.dk)
          attention.poolBlocksBackward(input)
        },
        selectionLossBackward: (input) => {
          memory.zero(input.dq)
          return attention.selectionLossBackward(input)
        },
      },
      ops: {
        linearBackward: (dy, x, weight, dWeight, dx) => {
          memory.zero(dWeight)
          return ops.linearBackward(dy, x, weight, dWeight, dx)
        },
      },
    }),
  },
  {
    name: 'repeated ids overwrite each other',
    caughtBy: ['f32/ops/embedding-backward*'],
    mutate: ({ memory, ops }) => ({
      ops: {
        embeddingBackward: (dOut, ids, dTable) => {
          const own = memory.integers(ids)
          const last = own.map((id, row) => (own.lastIndexOf(id) === row ? id : -1))
          memory.scope(() => ops.embeddingBackward(dOut, memory.upload(last, [last.length]), dTable))
        },
      },
    }),
  },
  {
    name: 'running sums reset at chunk boundaries',
    caughtBy: ['f32/paged/*'],
    mutate: ({ memory, paged }) => ({
      paged: {
        append: (cache, k, v, marks, batch) => {
          if (!(cache instanceof HostPagedCache) || !cache.arrays) throw new TypeError('the reference made this cache')
          const { spec } = cache.options
          const width = spec.kvHeads * spec.headDim
          const [starts, lengths] = [memory.integers(batch.queryStarts), memory.integers(batch.keyLengths)]
          const pageTable = memory.integers(batch.pageTable)
          const host = { ...batch, queryStarts: starts, keyLengths: lengths, pageTable, pagesPerSequence: batch.pageTable.shape[1] }
          const limits = { topK: memory.integers(batch.topK), denseBelow: memory.integers(batch.denseBelow) }
          for (let sequence = 0; sequence < batch.sequences; sequence++) {
            const first = lengths[sequence] - (starts[sequence + 1] - starts[sequence])
            if (first === lengths[sequence]) continue
            const slot = slotOf({ ...host, ...limits }, sequence, first, cache.options)
            const subBlock = Math.floor(slot / (spec.blockSize / spec.representatives))
            cache.arrays.keySums.fill(0, subBlock * width, (subBlock + 1) * width)
          }
          paged.append(cache, k, v, marks, batch)
        },
      },
    }),
  },
  {
    name: 'a cache takes the lambda of the first KV head for all',
    caughtBy: ['f32/paged/splits', 'f32/paged/mixed'],
    mutate: ({ memory, paged }) => ({
      paged: {
        append: (cache, k, v, marks, batch) => {
          const lambda = memory.reals(cache.options.lambda)
          const own = lambda.slice()
          lambda.fill(own[0])
          paged.append(cache, k, v, marks, batch)
          lambda.set(own)
        },
      },
    }),
  },
  {
    name: 'limits of the first sequence for all',
    caughtBy: ['f32/paged/mixed-limits'],
    mutate: ({ memory, paged }) => ({
      paged: {
        selectBlocks: (cache, q, batch) =>
          memory.scope(() => {
            const topK = memory.upload(
              memory.integers(batch.topK).map((_, __, all) => all[0]),
              [batch.sequences],
            )
            return paged.selectBlocks(cache, q, { ...batch, topK })
          }),
      },
    }),
  },
  {
    name: 'a race decides the rounding of a table gradient',
    caughtBy: ['f32/ops/embedding-backward-many-rows'],
    mutate: ({ memory, ops }) => {
      let calls = 0
      return {
        ops: {
          embeddingBackward: (dOut, ids, dTable) => {
            ops.embeddingBackward(dOut, ids, dTable)
            const values = memory.reals(dTable)
            values[0] *= 1 + (calls++ % 2) * 2 ** -23
          },
        },
      }
    },
  },
  {
    name: 'a step that must be skipped is taken',
    caughtBy: ['f32/ops/adamw-skips-when-not-finite'],
    mutate: ({ memory, ops }) => ({
      ops: {
        adamw: (parameters, control, norm, options) =>
          memory.scope(() => {
            const scale = memory.reals(norm)[1]
            ops.adamw(parameters, control, scale === 0 ? memory.upload(Float32Array.of(1, 1), [2]) : norm, options)
          }),
      },
    }),
  },
]
