import type { ModelBackend } from '../../contract/model-backend.js'
import type { DType } from '../../contract/tensor.js'
import { RandomStream } from '../../random-stream.js'
import { accumulator } from '../accumulator.js'
import { normals } from '../attention-inputs.js'
import { evaluate, Probe, uploadAs } from '../probe.js'
import { relativeCheck } from '../relative-error.js'
import { rounded } from '../rounded.js'
import { identityCheck, type TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

const [ROWS, IDS, WIDTH] = [4001, 5, 24]

/** Thousands of rows on a few ids: the sums are right, and the same to the bit each time, so that no race decides the rounding. */
export async function checkEmbeddingBackward(backend: ModelBackend, reference: ModelBackend, dtype: DType): Promise<TensorCheck[]> {
  const random = new RandomStream(41)
  const ids = Int32Array.from({ length: ROWS }, () => random.below(IDS + 1) - 1)
  const dOut = rounded(normals(random, ROWS * WIDTH), dtype)
  const exact = await evaluate(reference, () => {
    const dTable = reference.memory.alloc([IDS, WIDTH], 'f64')
    const rows = uploadAs(reference, dOut, [ROWS, WIDTH], 'f64')
    reference.ops.embeddingBackward(rows, reference.memory.upload(ids, [ROWS]), dTable)
    return { dTable }
  })
  const { before, expected } = accumulator(exact.dTable, dtype, 42)
  const probe = new Probe(backend)
  try {
    const inputs = [probe.input('dOut', dOut, [ROWS, WIDTH], dtype), probe.input('ids', ids, [ROWS], 'i32')] as const
    const runs = [0, 1].map(() => probe.changing(before, [IDS, WIDTH], dtype))
    for (const dTable of runs) {
      await probe.call(() => {
        backend.ops.embeddingBackward(...inputs, dTable)
        return {}
      })
    }
    const [first, second] = await Promise.all(runs.map((dTable) => backend.memory.download(dTable)))
    return [
      relativeCheck('dTable', first, expected, tolerancesFor(dtype).relative),
      identityCheck('dTable of a second run', second, first),
      ...(await probe.canaries()),
    ]
  } finally {
    probe.dispose()
  }
}
