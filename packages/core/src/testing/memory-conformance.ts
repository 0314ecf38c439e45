import type { TestedDType } from './attention-case.js'
import { checkMemoryCase, memoryChecks } from './checks/memory.js'
import type { ConformanceCase } from './conformance-case.js'

const DTYPES: readonly (TestedDType | 'i32')[] = ['f32', 'bf16', 'f16', 'i32']

/** Tensors in and out, for each element type. */
export function memoryConformance(): ConformanceCase[] {
  return Object.keys(memoryChecks).flatMap((name) =>
    DTYPES.map((dtype) => ({
      name: `${dtype}/memory/${name}`,
      dtype,
      needs: 'attention' as const,
      specs: [],
      flops: 0,
      run: ({ backend }) => checkMemoryCase(backend, name, dtype),
    })),
  )
}
