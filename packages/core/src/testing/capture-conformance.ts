import type { TestedDType } from './attention-case.js'
import { BASE_SPEC } from './base-spec.js'
import { checkCapturedAttention, checkCapturedDecode } from './checks/capture-attention.js'
import { captureMemoryChecks, checkCaptureMemory } from './checks/capture-memory.js'
import { checkCapturedOps } from './checks/capture-ops.js'
import { type CaseContext, type ConformanceCase, hasOps } from './conformance-case.js'
import { type CaptureBackend, canCapture } from './replayed.js'
import type { TensorCheck } from './tensor-check.js'

const DTYPES: readonly TestedDType[] = ['f32', 'bf16', 'f16']

/** Recorded steps; only for backends that record. */
export function captureConformance(): ConformanceCase[] {
  const each = (
    name: string,
    run: (backend: CaptureBackend, dtype: TestedDType) => Promise<TensorCheck[]>,
    { dtypes = DTYPES, needs = 'attention' }: { dtypes?: readonly TestedDType[]; needs?: ConformanceCase['needs'] } = {},
  ): ConformanceCase[] =>
    dtypes.map((dtype) => ({
      name: `${dtype}/capture/${name}`,
      dtype,
      needs,
      part: 'capture',
      specs: needs === 'ops' ? [] : [{ ...BASE_SPEC, dtype }],
      flops: 0,
      run: (context) => run(capturing(context), dtype),
    }))
  return [
    ...captureMemoryChecks.flatMap((name) => each(name, (backend) => checkCaptureMemory(backend, name), { dtypes: ['f32'] })),
    ...each('attention', checkCapturedAttention),
    ...each('decode', checkCapturedDecode),
    ...each('ops', (backend, dtype) => checkCapturedOps(withOps(backend), dtype), { needs: 'ops' }),
  ]
}

function capturing({ backend }: CaseContext): CaptureBackend {
  if (!canCapture(backend)) throw new TypeError(`${backend.name} records no steps; a case that needs that must say so.`)
  return backend
}

function withOps(backend: CaptureBackend) {
  if (!hasOps(backend)) throw new TypeError(`${backend.name} has no ops; a case that needs them must say so.`)
  return backend
}
