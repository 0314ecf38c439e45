import { RandomStream } from '../../random-stream.js'
import { accumulator } from '../accumulator.js'
import { normals } from '../attention-inputs.js'
import type { AttentionOracle } from '../attention-oracle.js'
import { type AttentionProblem, referenceProblem } from '../attention-problem.js'
import { padRows, usedRows } from '../padded-rows.js'
import { evaluate, type Probe, uploadAs } from '../probe.js'
import { relativeCheck } from '../relative-error.js'
import type { TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

/** Gradient of the representatives, added to what dk, and dLambda with `branches`, hold already (spec 3, 10). */
export async function checkPoolBackward(probe: Probe, problem: AttentionProblem, oracle: AttentionOracle): Promise<TensorCheck[]> {
  const { spec, layout } = problem
  const { kvHeads, headDim, representatives: r, dtype } = spec
  const packed = oracle.inputs.layout
  const bound = tolerancesFor(dtype).relative
  const branches = problem.weights.kind === 'branches'
  const dReps = normals(new RandomStream(71), kvHeads * packed.totalBlocks * r * headDim)
  const gradients = await evaluate(oracle.reference, () => {
    const exact = referenceProblem(oracle.reference, oracle.inputs, spec)
    const dk = oracle.reference.memory.alloc([packed.totalTokens, kvHeads, headDim], 'f64')
    const dLambda = oracle.reference.memory.alloc([kvHeads], 'f64')
    const upstream = uploadAs(oracle.reference, dReps, [kvHeads, packed.totalBlocks * r, headDim], 'f64')
    oracle.reference.attention.poolBlocksBackward({ ...exact, dReps: upstream, dk, ...(branches ? { dLambda } : {}) })
    return { dk, dLambda }
  })
  const expectedK = accumulator(gradients.dk, dtype, 72)
  const expectedLambda = accumulator(gradients.dLambda, 'f32', 73)
  const blockRows = { groups: kvHeads, rows: packed.totalBlocks * r, capacity: layout.blocks * r, width: headDim }
  const tokenRows = { groups: 1, rows: packed.totalTokens, capacity: layout.keyTokens, width: kvHeads * headDim }
  const upstream = probe.input('dReps', padRows(dReps, blockRows, Number.NaN), [kvHeads, layout.blocks * r, headDim], 'f32')
  const dk = probe.changing(padRows(expectedK.before, tokenRows, 0), [layout.keyTokens, kvHeads, headDim], dtype)
  const dLambda = probe.changing(expectedLambda.before, [kvHeads], 'f32')
  await probe.call(() => {
    probe.backend.attention.poolBlocksBackward({ ...problem, dReps: upstream, dk, ...(branches ? { dLambda } : {}) })
    return {}
  })
  const { used, checks } = usedRows('dk', await probe.backend.memory.download(dk), tokenRows, 0)
  const lambdaAfter = await probe.backend.memory.download(dLambda)
  return [
    relativeCheck('dk', used, expectedK.expected, bound),
    relativeCheck('dLambda', lambdaAfter, expectedLambda.expected, bound),
    ...checks,
  ]
}
