import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { casePattern, verifyAttentionFixture } from '@phsa/core/testing'
import type { WebgpuModelBackend } from '@phsa/kernels-webgpu'
import { verifyModelFixture } from '@phsa/model'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { chosenCases, NODE_FIXTURES } from './chosen-cases.js'
import { openWebgpu, webgpuUnavailable } from './open-webgpu.js'

// Software adapters compile for seconds, on a busy machine for minutes.
vi.setConfig({ testTimeout: 300_000 })

const fixtures = fileURLToPath(new URL('../../../fixtures/', import.meta.url))
const unavailable = await webgpuUnavailable()

describe.skipIf(unavailable)(`results that were computed elsewhere (spec 11)${unavailable ? ` (${unavailable})` : ''}`, () => {
  let backend: WebgpuModelBackend
  beforeAll(async () => {
    backend = await openWebgpu()
  })
  afterAll(() => backend.dispose())

  const names = readdirSync(`${fixtures}attention`).filter((name) => name.endsWith('.safetensors'))
  const chosen = chosenCases('PHSA_FIXTURES', NODE_FIXTURES).map((glob) => casePattern(`${glob}.safetensors`))
  test.each(names.filter((name) => chosen.some((matches) => matches(name))))('attention/%s', async (name) => {
    const { checks } = await verifyAttentionFixture(readFileSync(`${fixtures}attention/${name}`), backend)
    expect(checks.length).toBeGreaterThan(9)
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
  })

  // Left out unless PHSA_FIXTURES names it: it compiles for a minute here, and Chromium runs it on the same adapter in browser.test.ts.
  const isModelChosen = chosen.some((matches) => matches('qwen3-tiny.safetensors'))
  test.skipIf(!isModelChosen)('qwen3-tiny equals transformers: logits, loss, every gradient and greedy ids, dense and PHSA', async () => {
    const before = backend.memory.usage()
    const findings = await verifyModelFixture(`${fixtures}models/qwen3-tiny`, backend)
    expect(findings.filter(({ ok }) => !ok)).toEqual([])
    expect(findings).toHaveLength(2 * (3 + 3 * 11 + 2))
    expect(backend.memory.usage()).toEqual(before)
  })
})
