import { attentionConformance } from './attention-conformance.js'
import { captureConformance } from './capture-conformance.js'
import { collectiveConformance } from './collective-conformance.js'
import type { ConformanceCase } from './conformance-case.js'
import { errorConformance } from './error-conformance.js'
import { memoryConformance } from './memory-conformance.js'
import { opsConformance } from './ops-conformance.js'
import { pagedConformance } from './paged-conformance.js'

/** Every case of the suite, in a fixed order; names are unique. */
export function conformanceCases(): ConformanceCase[] {
  return [
    ...memoryConformance(),
    ...attentionConformance(),
    ...pagedConformance(),
    ...opsConformance(),
    ...captureConformance(),
    ...collectiveConformance(),
    ...errorConformance(),
  ]
}
