import { readdirSync, readFileSync } from 'node:fs'
import { verifyAttentionFixture } from '@phsa/core/testing'
import { describeBackend } from '@phsa/core/testing/vitest'
import { tfjs } from '@phsa/kernels-tfjs'
import { describe, expect, test } from 'vitest'

const FIXTURES = new URL('../../../fixtures/attention/', import.meta.url)

for (const engine of ['wasm', 'cpu'] as const) {
  describeBackend(`tfjs on ${engine}`, { create: () => tfjs({ engine }) })

  describe(`fixtures on ${engine}`, () => {
    test.each(readdirSync(FIXTURES).filter((name) => name.endsWith('.safetensors')))('%s', async (name) => {
      const backend = await tfjs({ engine })
      const report = await verifyAttentionFixture(readFileSync(new URL(name, FIXTURES)), backend)
      expect(report.checks.filter(({ ok }) => !ok)).toEqual([])
      backend.dispose()
    })
  })
}
