import { type AttentionSpec, candidateBlocks, type PagedBatch, type PagedCache, type Tensor } from '@phsa/core'
import type { CudaModelBackend } from '@phsa/kernels-cuda'
import type { Timing } from '../attention/device-result.js'
import { timing } from '../attention/device-timing.js'
import type { NormalPool } from '../attention/normal-pool.js'
import { type DecodeData, decodeBatch, filledCache, marksOf, PAGE_TOKENS, pageTable } from './decode-cache.js'
import { checkStep } from './decode-check.js'
import type { DecodePhase, DecodeRow } from './decode-result.js'

/** Sequences of one length. */
export interface PlannedDecode {
  readonly batch: number
  readonly length: number
}

/** A step must read so much in all of its caches that no cache of the GPU holds it to the next replay; more caches than that tell nothing. */
const COLD_BYTES = 2 ** 28
const MOST_LAYERS = 32
/** Of the memory that is free, for the caches. */
const MEMORY_SHARE = 0.8
const WARM_UP = 3
const RUNS = 20

/** Measures a sparse and a dense step over the same caches. @throws OutOfMemoryError where not even one cache has room */
export async function measureDecode(
  backend: CudaModelBackend,
  spec: AttentionSpec,
  data: DecodeData,
  pool: NormalPool,
  plan: PlannedDecode,
): Promise<DecodeRow[]> {
  const { batch: sequences, length } = plan
  const table = pageTable(sequences, length)
  const caches: PagedCache[] = []
  try {
    caches.push(filledCache(backend, spec, data, table, sequences, length))
    const room = Math.floor((backend.deviceMemory().freeBytes * MEMORY_SHARE) / caches[0].bytes) + 1
    const wanted = Math.ceil(COLD_BYTES / (sequences * stepBytes(spec, length, false)['select and attend']))
    const layers = Math.max(1, Math.min(MOST_LAYERS, wanted, room))
    while (caches.length < layers) caches.push(filledCache(backend, spec, data, table, sequences, length))
    const rows: DecodeRow[] = []
    for (const dense of [false, true]) {
      // A dense step reads so much that few caches do.
      rows.push(await measureSteps(backend, spec, data, pool, table, plan, dense ? caches.slice(0, 4) : caches, dense))
    }
    return rows
  } finally {
    for (const cache of caches) cache.dispose()
  }
}

/** Bytes that one sequence's operations must read, all KV heads; representatives are f16. */
export function stepBytes(spec: AttentionSpec, length: number, dense: boolean): Record<DecodePhase, number> {
  const { kvHeads, headDim, blockSize, topK } = spec
  const { start, end } = candidateBlocks(spec, length - 1)
  const select = dense ? 0 : (end - start) * kvHeads * headDim * 2
  const hidden = dense ? 0 : (end - start - Math.min(topK, end - start)) * blockSize
  const attend = (length - hidden) * kvHeads * headDim * 2 * 2
  return { layer: select + attend, select, attend, 'select and attend': select + attend }
}

async function measureSteps(
  backend: CudaModelBackend,
  spec: AttentionSpec,
  data: DecodeData,
  pool: NormalPool,
  table: Int32Array,
  { batch: sequences, length }: PlannedDecode,
  caches: readonly PagedCache[],
  dense: boolean,
): Promise<DecodeRow> {
  const { memory, paged } = backend
  const { heads, kvHeads, headDim, dtype } = spec
  const queries = pool.take(sequences * heads * headDim, 5)
  const held: Tensor[] = []
  const hold = (tensor: Tensor) => {
    held.push(tensor)
    return tensor
  }
  const batch = decodeBatch(backend, table, sequences, length, spec.topK, dense)
  for (const value of Object.values(batch)) if (typeof value === 'object') hold(value as Tensor)
  try {
    const q = hold(memory.upload(queries, [sequences, heads, headDim], dtype))
    const first = (chunk: Float32Array) => {
      const row = new Float32Array(sequences * kvHeads * headDim)
      const at = ((length - 1) % 4096) * kvHeads * headDim
      for (let sequence = 0; sequence < sequences; sequence++)
        row.set(chunk.subarray(at, at + kvHeads * headDim), sequence * kvHeads * headDim)
      return hold(memory.upload(row, [sequences, kvHeads, headDim], dtype))
    }
    const [k, v] = [first(data.hostKeys), first(data.hostValues)]
    const marks = hold(
      memory.upload(
        Float32Array.from({ length: sequences }, (_, sequence) => marksOf(sequence, length)[length - 1]),
        [sequences],
      ),
    )
    const append = (cache: PagedCache) => paged.append(cache, k, v, marks, batch)
    for (const cache of caches) append(cache)
    const selected = hold(paged.selectBlocks(caches[0], q, batch))
    const attended = paged.attend(caches[0], q, selected, batch)
    const common = { batch: sequences, length, dense, spec, pageTokens: PAGE_TOKENS }
    const checks = checkStep(spec, dense, data, length, {
      queries,
      selected: await memory.download(selected),
      out: await memory.download(hold(attended.out)),
      lse: await memory.download(hold(attended.lse)),
      sequences,
    })
    if (checks.some(({ ok }) => !ok)) return { ...common, outcome: 'wrong', checks }
    const steps: Partial<Record<DecodePhase, (cache: PagedCache) => void>> = {
      attend: (cache) => paged.attend(cache, q, selected, batch),
      ...(dense ? {} : sparseSteps(backend, append, q, batch)),
    }
    const times: Partial<Record<DecodePhase, Timing>> = {}
    for (const [phase, step] of Object.entries(steps)) times[phase as DecodePhase] = await timeStep(backend, caches, step)
    const one = stepBytes(spec, length, dense)
    const bytes = Object.fromEntries(Object.keys(times).map((phase) => [phase, sequences * one[phase as DecodePhase]]))
    return { ...common, outcome: 'measured', checks, layers: caches.length, times, bytes }
  } finally {
    for (const tensor of held) tensor.dispose()
  }
}

function sparseSteps(
  { paged }: CudaModelBackend,
  append: (cache: PagedCache) => void,
  q: Tensor,
  batch: PagedBatch,
): Partial<Record<DecodePhase, (cache: PagedCache) => void>> {
  const both = (cache: PagedCache) => {
    paged.attend(cache, q, paged.selectBlocks(cache, q, batch), batch)
  }
  return {
    select: (cache) => {
      paged.selectBlocks(cache, q, batch)
    },
    'select and attend': both,
    // The token that is appended begins a block: appending it again changes nothing.
    layer: (cache) => {
      append(cache)
      both(cache)
    },
  }
}

/** Times replays of a recorded step over all caches; a sample is of one cache. */
async function timeStep(backend: CudaModelBackend, caches: readonly PagedCache[], step: (cache: PagedCache) => void): Promise<Timing> {
  const { memory } = backend
  const all = () => {
    for (const cache of caches) step(cache)
  }
  memory.scope(all)
  const recorded = await backend.capture(all)
  const timer = backend.createTimer()
  try {
    for (let run = 0; run < WARM_UP; run++) recorded.replay()
    timer.mark()
    for (let run = 0; run < RUNS; run++) {
      recorded.replay()
      timer.mark()
    }
    return timing(Array.from(timer.read(), (milliseconds) => milliseconds / caches.length))
  } finally {
    timer.dispose()
    recorded.dispose()
  }
}
