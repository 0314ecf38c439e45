import { readdirSync, readFileSync } from 'node:fs'
import { type ConformanceCase, failureText, runConformance, verifyAttentionFixture } from '@phsa/core/testing'
import { beforeAll, describe, expect, test } from 'vitest'
import { buildEmulation, missingCompiler } from './build-emulation.js'
import { emulatedCuda } from './emulated-cuda.js'

const FIXTURES = new URL('../../../../fixtures/attention/', import.meta.url)
const CHECKS = [
  'memory',
  'pool',
  'pool-backward',
  'select',
  'select-top',
  'attend',
  'attend-backward',
  'block-mass',
  'selection-loss',
  'nan-poison',
  'chunks',
  'paged',
  'capture',
  'collective',
  'ops',
  'errors',
]
/** PHSA_EMULATION=all runs every case, which takes minutes. */
const EVERY_CASE = process.env.PHSA_EMULATION === 'all'
/** Cases of more work than that say little that smaller ones do not. */
const TINY_FLOPS = 5e6
const missing = missingCompiler()

// What the kernels compute, by the host's arithmetic. Nothing here is a result of a GPU.
describe.skipIf(missing)(`kernels on an emulated GPU${missing ? ` (skipped: ${missing})` : ''}`, { timeout: 600_000 }, () => {
  beforeAll(async () => {
    await buildEmulation()
  }, 600_000)

  test.each(CHECKS)('conformance: %s', async (check) => {
    const filter = (conformanceCase: ConformanceCase) => conformanceCase.name.split('/')[1] === check && isChosen(conformanceCase)
    const report = await runConformance({ name: 'cuda, emulated', create: emulatedCuda, filter })
    expect(report.cases.filter(({ outcome }) => outcome === 'failed').map(failureText)).toEqual([])
    expect(report.passed).toBeGreaterThan(0)
  })

  test.each(readdirSync(FIXTURES).filter((name) => name.endsWith('.safetensors')))('fixture %s', async (name) => {
    const backend = await emulatedCuda()
    const report = await verifyAttentionFixture(readFileSync(new URL(name, FIXTURES)), backend)
    expect(report.checks.filter(({ ok }) => !ok)).toEqual([])
    backend.dispose()
  })
})

function isChosen({ name, flops }: ConformanceCase): boolean {
  // Chunks are two problems in one: none is that small.
  if (EVERY_CASE || name.startsWith('f32/chunks/')) return true
  // Rows so long that a cluster shares them: there are no clusters here.
  if (name.includes('cross-entropy-many-ids')) return false
  return flops <= TINY_FLOPS && name !== 'f32/paged/long'
}
