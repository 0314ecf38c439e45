import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ReferenceBackend } from '@phsa/core'
import { casePattern, conformanceCases } from '@phsa/core/testing'
import { afterAll, beforeAll, describe, expect, type TestContext, test, vi } from 'vitest'
import { type ChromiumPage, callerOf, findChromium, openChromiumPage } from '../../../scripts/chromium-page.js'
import type { BrowserPage } from './browser-page.js'
import { trainTinyModel } from './browser-training.js'
import { BROWSER_CASES, chosenCases } from './chosen-cases.js'

// Software adapters compile for seconds, on a busy machine for minutes.
vi.setConfig({ testTimeout: 300_000 })

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const call = callerOf<BrowserPage>('browserPage')
const cases = chosenCases('PHSA_BROWSER_CASES', BROWSER_CASES)

describe('in a browser', () => {
  let opened: ChromiumPage | undefined
  let unavailable = ''

  beforeAll(async () => {
    const executable = findChromium()
    if (!executable) unavailable = 'there is no Chromium on the PATH; PHSA_CHROMIUM names one'
    else {
      opened = await openChromiumPage(executable, {
        entry: here('browser-page.ts'),
        alias: {
          '@phsa/core': here('../../core/src/index.ts'),
          '@phsa/core/testing': here('../../core/src/testing/index.ts'),
          '@phsa/kernels-webgpu': here('../src/index.ts'),
          '@phsa/model': here('../../model/src/index.ts'),
          '@phsa/trainer': here('../../trainer/src/browser.ts'),
        },
        files: Object.fromEntries(
          readdirSync(here('../../../fixtures/models/qwen3-tiny')).map((name) => [
            `/models/qwen3-tiny/${name}`,
            here(`../../../fixtures/models/qwen3-tiny/${name}`),
          ]),
        ),
      })
      await opened.page.waitForFunction('globalThis.browserPage')
      unavailable = (await call(opened, 'open')).unavailable ?? ''
    }
    if (unavailable && process.env.PHSA_REQUIRE_BACKEND === 'webgpu') throw new Error(unavailable)
  }, 120_000)
  afterAll(() => opened?.close())

  // Skips without Chromium, or without WebGPU in it; `unavailable` says which.
  const available = (context: TestContext): ChromiumPage => (opened && !unavailable ? opened : context.skip(unavailable))

  const names = conformanceCases().map(({ name }) => name)
  test.for(names.filter((name) => cases.some((glob) => casePattern(glob)(name))))('%s', async (name, context) => {
    const { outcome, text } = await call(available(context), 'runCase', name)
    // More than the backend's capabilities allow: the text says what.
    if (outcome === 'skipped') context.skip(text)
    expect(outcome, text).toBe('passed')
  })

  test('qwen3-tiny equals transformers: logits, loss, every gradient and greedy ids, dense and PHSA', async (context) => {
    const { checks, wrong } = await call(available(context), 'verifyModel', '/models/qwen3-tiny')
    expect(wrong).toEqual([])
    expect(checks).toBe(2 * (3 + 3 * 11 + 2))
  })

  test('a page trains as Node does: the losses of dense and sparse steps are within 0.001 of the reference', async (context) => {
    const losses = await call(available(context), 'train')
    const expected = await trainTinyModel(new ReferenceBackend())
    expect(losses).toHaveLength(expected.length)
    for (const [index, loss] of losses.entries()) expect(Math.abs(loss - expected[index])).toBeLessThan(1e-3)
    expect(losses.at(-2)).toBeLessThan(losses[0])
    expect(losses.at(-1)).toBeGreaterThan(0)
  })

  test('a lost device rejects downloads and settles lost, and a new backend works', async (context) => {
    const [download, lost, device] = await call(available(context), 'loseDevice')
    for (const message of [download, lost]) expect(message).toMatch(/^backend-lost: .* is lost: /)
    expect(device.length).toBeGreaterThan(0)
  })
})
