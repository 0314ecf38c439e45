import { setImmediate as eventLoopTurn } from 'node:timers/promises'
import { reference } from '@phsa/core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Engine, type TextConstraint, type TextConstraints } from '../../src/index.js'
import { answerOf, punctuation, requestOf, tinyConfig, tinyModel } from './tiny-engine.js'

const ANY = new Int32Array(Math.ceil(tinyConfig.vocabSize / 32)).fill(-1)

/** Grammars that allow everything, and take until `release`. */
class SlowConstraints implements TextConstraints {
  /** How often the engine asked whether something is known. */
  asked = 0
  #release: (() => void)[] = []

  get held(): number {
    return this.#release.length
  }

  release(): void {
    for (const release of this.#release.splice(0)) release()
  }

  async open(): Promise<TextConstraint> {
    const owner = this
    let allowed: Int32Array | undefined = ANY
    let known = Promise.resolve()
    return {
      get allowed() {
        owner.asked++
        return allowed
      },
      get known() {
        return known
      },
      failed: new Promise(() => undefined),
      accept() {
        allowed = undefined
        known = new Promise((resolve) => {
          owner.#release.push(() => {
            allowed = ANY
            resolve()
          })
        })
      },
      dispose: () => undefined,
    }
  }
}

let constraints: SlowConstraints
let engine: Engine
beforeAll(async () => {
  constraints = new SlowConstraints()
  engine = new Engine({ model: await tinyModel(await reference()), punctuation, cacheTokens: 512, constraints })
})
afterAll(() => engine.stop())

const constrained = requestOf({ maxTokens: 2, grammar: 'root ::= "any"', stopTokenIds: [28] })

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await eventLoopTurn()
}

async function untilHeld(count: number): Promise<void> {
  while (constraints.held < count) await eventLoopTurn()
  await turns(5)
}

test('while every request waits for its grammar the engine does nothing; the first that is ready goes on', async () => {
  const answers = [answerOf(engine, constrained), answerOf(engine, constrained)]
  await untilHeld(2)
  const { asked } = constraints
  await turns(100)
  expect(constraints.asked).toBe(asked)
  constraints.release()
  expect((await Promise.all(answers)).map(({ ids }) => ids.length)).toEqual([2, 2])
  expect((await engine.stats()).pagesUsed).toBe(0)
})

test('others come and go while a request is held, and who leaves gives the pages back', async () => {
  const controller = new AbortController()
  const left = answerOf(engine, constrained, { signal: controller.signal })
  await untilHeld(1)
  expect((await answerOf(engine, requestOf({ maxTokens: 3 }))).ids.length).toBe(3)
  // Now the engine waits.
  await turns(5)
  controller.abort()
  await expect(left).rejects.toThrow()
  await engine.drain()
  expect(await engine.stats()).toMatchObject({ running: 0, pagesUsed: 0 })
})
