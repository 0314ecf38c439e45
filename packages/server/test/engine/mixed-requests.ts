import { RandomStream } from '@phsa/core'
import type { EngineRequest } from '../../src/index.js'
import { greedy, randomIds, requestOf, seeded } from './tiny-engine.js'

/** Requests of every kind; some begin alike. */
export function mixedRequests(count: number): EngineRequest[] {
  const random = new RandomStream(5)
  const shared = randomIds(13, 3)
  return Array.from({ length: count }, (_, index) => {
    const own = randomIds(1 + random.below(16), 100 + index)
    const isShared = index % 3 === 0
    return requestOf({
      prompt: isShared ? Int32Array.of(...shared, ...own) : own,
      maxTokens: 1 + random.below(12),
      sampling: [greedy, seeded(index), { ...seeded(index), repetitionPenalty: 1.4 }][random.below(3)],
      attention: isShared ? undefined : [undefined, 'dense' as const, { topK: 1 }][random.below(3)],
      salt: `key ${index % 4 === 1}`,
    })
  })
}
