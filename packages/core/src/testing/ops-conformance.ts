import type { ModelBackend } from '../contract/model-backend.js'
import type { HostArray } from '../contract/tensor.js'
import { accumulator } from './accumulator.js'
import type { TestedDType } from './attention-case.js'
import { checkAdamw, checkAdamwSkip } from './checks/adamw.js'
import { checkEmbeddingBackward } from './checks/embedding-backward.js'
import { checkGradientNormNotFinite, checkGradientNormSizes } from './checks/gradient-norm.js'
import { checkSample } from './checks/sample.js'
import type { CaseContext, ConformanceCase } from './conformance-case.js'
import { type OpCase, type OpTensor, opTensorType } from './op-case.js'
import { opCases } from './op-cases.js'
import { evaluate, Probe, uploadAs } from './probe.js'
import { relativeCheck } from './relative-error.js'
import { rounded } from './rounded.js'
import { SAMPLE_DRAWS, WIDE_DRAWS } from './sample-draws.js'
import { seedOf } from './seed-of.js'
import { identityCheck, type TensorCheck } from './tensor-check.js'
import { tolerancesFor } from './tolerances.js'

const DTYPES: readonly TestedDType[] = ['f32', 'bf16', 'f16']

/** The model ops; only for backends that have them. */
export function opsConformance(): ConformanceCase[] {
  const byType = (
    name: string,
    run: (context: CaseContext, dtype: TestedDType) => Promise<TensorCheck[]>,
    dtypes = DTYPES,
  ): ConformanceCase[] =>
    dtypes.map((dtype) => ({
      name: `${dtype}/ops/${name}`,
      dtype,
      needs: 'ops',
      specs: [],
      flops: 0,
      run: (context) => run(context, dtype),
    }))
  return [
    ...opCases().flatMap((opCase) => byType(opCase.name, (context, dtype) => runOpCase(context, opCase, dtype), opCase.dtypes)),
    ...byType('embedding-backward-many-rows', ({ model, reference }, dtype) => checkEmbeddingBackward(model, reference, dtype)),
    ...byType('gradient-norm-sizes', ({ model }) => checkGradientNormSizes(model), ['f32']),
    ...byType('gradient-norm-not-finite', ({ model }, dtype) => checkGradientNormNotFinite(model, dtype)),
    ...byType('adamw', ({ model, reference }, dtype) => checkAdamw(model, reference, dtype)),
    ...byType('adamw-skips-when-not-finite', ({ model }, dtype) => checkAdamwSkip(model, dtype)),
    ...byType('sample', ({ model }, dtype) => checkSample(model, SAMPLE_DRAWS, dtype)),
    ...byType('sample-wide', ({ model }, dtype) => checkSample(model, WIDE_DRAWS, dtype)),
  ]
}

async function runOpCase({ model, reference }: CaseContext, opCase: OpCase, dtype: TestedDType): Promise<TensorCheck[]> {
  const inputs = roundInputs(opCase, dtype)
  const expected = await runOnReference(reference, opCase, inputs)
  const probe = new Probe(model)
  try {
    const bound = tolerancesFor(dtype).relative
    const tensors = Object.fromEntries(
      Object.entries(inputs).map(([name, { data, shape, kind }]) => [name, probe.input(name, data, shape, opTensorType(kind, dtype))]),
    )
    const accumulators = Object.entries(opCase.accumulators).map(([name, { shape, kind }]) => {
      const type = opTensorType(kind, dtype)
      const { before, expected: after } = accumulator(expected[name], type, seedOf(name))
      return { name, after, tensor: probe.changing(before, shape, type) }
    })
    const changing = Object.fromEntries(accumulators.map(({ name, tensor }) => [name, tensor]))
    const outputs = await probe.call(() => opCase.run(model.ops, { ...tensors, ...changing }, model.memory))
    const checks = Object.entries(outputs).map(([name, actual]) =>
      opCase.exact?.includes(name)
        ? identityCheck(name, actual, rounded(expected[name], dtype))
        : relativeCheck(name, actual, expected[name], bound),
    )
    for (const { name, after, tensor } of accumulators) checks.push(relativeCheck(name, await model.memory.download(tensor), after, bound))
    return [...checks, ...(await probe.canaries())]
  } finally {
    probe.dispose()
  }
}

function roundInputs({ inputs }: OpCase, dtype: TestedDType): Record<string, OpTensor> {
  const round = ({ data, shape, kind }: OpTensor): OpTensor => ({
    data: kind === 'i32' ? data : rounded(data, opTensorType(kind, dtype)),
    shape,
    kind,
  })
  return Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, round(tensor)]))
}

/** Outputs and gradients, the latter added to zeros. */
function runOnReference(
  reference: ModelBackend,
  opCase: OpCase,
  inputs: Readonly<Record<string, OpTensor>>,
): Promise<Record<string, HostArray>> {
  return evaluate(reference, () => {
    const tensors = Object.fromEntries(
      Object.entries(inputs).map(([name, { data, shape, kind }]) => [
        name,
        kind === 'i32' ? reference.memory.upload(data, shape) : uploadAs(reference, data, shape, 'f64'),
      ]),
    )
    const sums = Object.fromEntries(
      Object.entries(opCase.accumulators).map(([name, { shape }]) => [name, reference.memory.alloc(shape, 'f64')]),
    )
    return { ...opCase.run(reference.ops, { ...tensors, ...sums }, reference.memory), ...sums }
  })
}
