import { tfjs } from '@phsa/kernels-tfjs'
import { expect, test } from 'vitest'
import { Engine } from '../../src/index.js'
import { answerOf, greedy, loneRun, punctuation, randomIds, requestOf, tinyModel } from './tiny-engine.js'

test('tfjs: the tokens of each request are those of a lone run, in a full batch with few pages too', async () => {
  const backend = await tfjs()
  const model = await tinyModel(backend)
  const before = backend.memory.usage()
  const engine = new Engine({ model, punctuation, pageTokens: 4, cacheTokens: 40, maxTokens: 40, stepTokens: 24 })
  const requests = Array.from({ length: 6 }, (_, index) =>
    requestOf({
      prompt: randomIds(5 + 4 * index, index),
      maxTokens: 10,
      sampling: index % 2 ? greedy : { ...greedy, temperature: 1.2, seed: index },
      attention: index % 3 ? undefined : 'dense',
    }),
  )
  const answers = await Promise.all(requests.map((request) => answerOf(engine, request)))
  for (const [index, request] of requests.entries()) expect(answers[index].ids, `request ${index}`).toEqual(await loneRun(model, request))
  expect((await engine.stats()).preemptions).toBeGreaterThan(0)
  await engine.stop()
  expect(backend.memory.usage()).toEqual(before)
  backend.dispose()
})
