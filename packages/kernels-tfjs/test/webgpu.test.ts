import { fileURLToPath } from 'node:url'
import { casePattern, conformanceCases } from '@phsa/core/testing'
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { type ChromiumPage, callerOf, findChromium, openChromiumPage } from '../../../scripts/chromium-page.js'
import type { WebgpuPage } from './webgpu-page.js'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/**
 * Software WebGPU compiles for up to a second for each new shape: one or two small cases of each kind, in less than a minute. PHSA_WEBGPU_CASES
 * names others, with commas between; `f32/*,i32/*` is the whole suite, half an hour.
 */
const CASES = process.env.PHSA_WEBGPU_CASES?.split(',') ?? [
  'f32/memory/*',
  'f32/errors/*',
  'f32/*/m8-t9',
  'f32/nan-poison/decode',
  'f32/ops/add',
  'f32/ops/rms-norm-5x96',
  'f32/ops/rms-norm-backward-37x130',
  'f32/ops/linear-5x1100x17',
  'f32/ops/linear-backward-5x1100x17',
  'f32/ops/swiglu-far',
  'f32/ops/swiglu-backward',
  'f32/ops/cross-entropy-far',
  'f32/ops/cross-entropy-far-backward',
]

/** A function of the page, called from here. */
const call = callerOf<WebgpuPage>('webgpuPage')

describe('webgpu in a browser', () => {
  let opened: ChromiumPage | undefined
  let unavailable = ''

  beforeAll(async () => {
    const executable = findChromium()
    if (!executable) unavailable = 'there is no Chromium on the PATH; PHSA_CHROMIUM names one'
    else {
      opened = await openChromiumPage(executable, {
        entry: here('webgpu-page.ts'),
        alias: { '@phsa/core': here('../../core/src/index.ts'), '@phsa/core/testing': here('../../core/src/testing/index.ts') },
      })
      await opened.page.waitForFunction('globalThis.webgpuPage')
      unavailable = (await call(opened, 'open')).unavailable ?? ''
    }
    if (unavailable && process.env.PHSA_REQUIRE_BACKEND === 'tfjs-webgpu') throw new Error(unavailable)
  }, 120_000)
  afterAll(() => opened?.close())

  // Skips without Chromium, or without WebGPU in it; `unavailable` says which.
  const available = (context: TestContext): ChromiumPage => (opened && !unavailable ? opened : context.skip(unavailable))

  const names = conformanceCases().map(({ name }) => name)
  test.for(names.filter((name) => CASES.some((glob) => casePattern(glob)(name))))('%s', async (name, context) => {
    const { outcome, text } = await call(available(context), 'runCase', name)
    // More than the backend's capabilities allow: the text says what.
    if (outcome === 'skipped') context.skip(text)
    expect(outcome, text).toBe('passed')
  })

  test('a large result is read whole', async (context) => {
    expect(await call(available(context), 'wrongElements', 300_001)).toBe(0)
  })

  test('phsaAttention is an operation there too', async (context) => {
    expect(await call(available(context), 'operationError')).toBeLessThan(1e-4)
  })

  test('any split selects the same blocks where scores nearly tie', async (context) => {
    const page = available(context)
    for (const score of ['softmax', 'logit'] as const) {
      const whole = await call(page, 'select', score, 1, [700])
      expect(await call(page, 'select', score, 1, [255, 7, 1])).toEqual(whole)
    }
  })

  test('a lost device fails downloads and later calls, and a new backend has a new one', async (context) => {
    const answers = await call(available(context), 'loseDevice')
    expect(answers[3]).toContain('webgpu engine')
    for (const message of answers.slice(0, 3)) expect(message).toMatch(/^backend-lost: .* is (gone|lost)/)
  })
})
