import { readdirSync, readFileSync } from 'node:fs'
import { verifyAttentionFixture } from '@phsa/core/testing'
import { describeBackend } from '@phsa/core/testing/vitest'
import { tfjs } from '@phsa/kernels-tfjs'
import { describe, expect, test } from 'vitest'

const FIXTURES = new URL('../../../fixtures/attention/', import.meta.url)

/**
 * The cpu engine computes in plain JavaScript, several times slower: it gets every kind of case, and of long attention only a part.
 * PHSA_TFJS_CPU_CASES names others, with commas between; `*` is the whole suite.
 */
const CPU_CASES = process.env.PHSA_TFJS_CPU_CASES?.split(',') ?? [
  '*/memory/*',
  '*/errors/*',
  'f32/pool*',
  'f32/select*',
  'f32/ops/*',
  'f32/chunks/*',
  'f32/nan-poison/*',
  'f32/block-mass/*',
  'f32/selection-loss/*',
  'f32/*/m8-*',
  'f32/*/packed',
  'f32/*/decode',
  'f32/paged/mixed',
  'f32/paged/splits',
]

for (const engine of ['wasm', 'cpu'] as const) {
  describeBackend(`tfjs on ${engine}`, { create: () => tfjs({ engine }), filter: engine === 'cpu' ? CPU_CASES : '*' })

  describe(`fixtures on ${engine}`, () => {
    test.each(readdirSync(FIXTURES).filter((name) => name.endsWith('.safetensors')))('%s', async (name) => {
      const backend = await tfjs({ engine })
      const report = await verifyAttentionFixture(readFileSync(new URL(name, FIXTURES)), backend)
      expect(report.checks.filter(({ ok }) => !ok)).toEqual([])
      backend.dispose()
    })
  })
}
