import type { AttentionCase, AttentionCheckName, TestedDType } from './attention-case.js'
import { attentionCases } from './attention-cases.js'
import { attentionFlops } from './attention-flops.js'
import { probeProblem } from './attention-problem.js'
import { checkAttend } from './checks/attend.js'
import { checkAttendBackward } from './checks/attend-backward.js'
import { checkBlockMass } from './checks/block-mass.js'
import { checkChunks } from './checks/chunks.js'
import { checkNanPoison } from './checks/nan-poison.js'
import { checkPool } from './checks/pool.js'
import { checkPoolBackward } from './checks/pool-backward.js'
import { checkSelect } from './checks/select.js'
import { checkSelectTop } from './checks/select-top.js'
import { checkSelectionLoss } from './checks/selection-loss.js'
import type { CaseContext, ConformanceCase } from './conformance-case.js'
import { Probe } from './probe.js'
import type { TensorCheck } from './tensor-check.js'

/** The packed attention cases, each with each of its kernels and element types. */
export function attentionConformance(): ConformanceCase[] {
  return attentionCases().flatMap((attentionCase) =>
    attentionCase.dtypes.flatMap((dtype) =>
      attentionCase.checks.map((check) => ({
        name: `${dtype}/${check}/${attentionCase.name}`,
        dtype,
        needs: 'attention' as const,
        specs: [{ ...attentionCase.spec, dtype }],
        flops: attentionFlops(attentionCase, check),
        run: (context: CaseContext) => runCheck(context, attentionCase, dtype, check),
      })),
    ),
  )
}

async function runCheck(
  context: CaseContext,
  attentionCase: AttentionCase,
  dtype: TestedDType,
  check: AttentionCheckName,
): Promise<TensorCheck[]> {
  const oracle = context.oracles.oracle(attentionCase, dtype)
  const probe = new Probe(context.backend)
  const upload = (inputs = oracle.inputs) => probeProblem(probe, inputs, oracle.spec, attentionCase.capacity)
  try {
    if (check === 'nan-poison') return [...(await checkNanPoison(probe, oracle, upload)), ...(await probe.canaries())]
    if (check === 'chunks') return [...(await checkChunks(probe, oracle, attentionCase.lambda)), ...(await probe.canaries())]
    const problem = await upload()
    const checks = await {
      pool: () => checkPool(probe, problem, oracle),
      'pool-backward': () => checkPoolBackward(probe, problem, oracle),
      select: () => checkSelect(probe, problem, oracle, attentionCase.inputs === 'ties'),
      'select-top': () => checkSelectTop(probe, problem, oracle),
      attend: () => checkAttend(probe, problem, oracle),
      'attend-backward': () => checkAttendBackward(probe, problem, oracle),
      'block-mass': () => checkBlockMass(probe, problem, oracle),
      'selection-loss': () => checkSelectionLoss(probe, problem, oracle),
    }[check]()
    return [...checks, ...(await probe.canaries())]
  } finally {
    probe.dispose()
  }
}
