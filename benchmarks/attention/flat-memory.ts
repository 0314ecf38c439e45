import { attentionSpec, PackedLayout, PHSA_4K, uploadLayout } from '@phsa/core'
import type { CudaModelBackend } from '@phsa/kernels-cuda'
import type { MemoryFlatness } from './device-result.js'
import { NormalPool } from './normal-pool.js'

/** Lengths that take turns, so that memory is asked for in many sizes. */
const LENGTHS = [64, 100, 161, 250, 333, 400, 512]
const HEADS = { heads: 4, kvHeads: 2, headDim: 128, dtype: 'bf16' } as const
/** Calls of a round: pool, select, attend, backward. */
const CALLS_A_ROUND = 4
const LOOKS = 10

/** Calls the attention kernels again and again on new tensors, and looks whether the GPU's memory stays as it was after the first of each length. */
export async function checkFlatMemory(backend: CudaModelBackend, calls: number): Promise<MemoryFlatness> {
  const rounds = Math.ceil(calls / CALLS_A_ROUND)
  const every = Math.max(LENGTHS.length, Math.floor(rounds / LOOKS))
  const values = new NormalPool(4, 2 ** 16).take(Math.max(...LENGTHS) * HEADS.heads * HEADS.headDim, 1)
  const samples: MemoryFlatness['samples'][number][] = []
  const look = (round: number) => {
    const { freeBytes } = backend.deviceMemory()
    samples.push({ calls: round * CALLS_A_ROUND, freeBytes, ...backend.memory.usage() })
  }
  for (const length of LENGTHS) await oneRound(backend, values, length)
  look(0)
  for (let round = 1; round <= rounds; round++) {
    await oneRound(backend, values, LENGTHS[round % LENGTHS.length])
    if (round % every === 0 || round === rounds) look(round)
  }
  const [first] = samples
  const flat = samples.every(
    ({ freeBytes, tensors, bytes }) => freeBytes >= first.freeBytes && tensors === first.tensors && bytes === first.bytes,
  )
  return { calls: rounds * CALLS_A_ROUND, samples, flat }
}

/** Waits at its end, so that a failure shows where it happened and the queue does not grow without bound. */
async function oneRound({ attention, memory }: CudaModelBackend, values: Float32Array, length: number): Promise<void> {
  const spec = attentionSpec({ ...PHSA_4K, topK: 4 }, HEADS)
  const lse = memory.scope(() => {
    const rows = (heads: number) =>
      memory.upload(values.subarray(0, length * heads * spec.headDim), [length, heads, spec.headDim], spec.dtype)
    const [q, k, v] = [rows(spec.heads), rows(spec.kvHeads), rows(spec.kvHeads)]
    const layout = uploadLayout(memory, new PackedLayout([length], spec.blockSize))
    const weights = { kind: 'fused' as const, weights: memory.upload(new Float32Array(length).fill(1 / spec.blockSize), [length]) }
    const reps = attention.poolBlocks({ k, weights, layout, spec })
    const selected = attention.selectBlocks({ q, reps, layout, spec })
    const made = attention.attend({ q, k, v, selected, layout, spec })
    attention.attendBackward({ q, k, v, selected, layout, spec, dOut: q, ...made })
    return made.lse
  })
  await memory.download(lse)
  lse.dispose()
}
