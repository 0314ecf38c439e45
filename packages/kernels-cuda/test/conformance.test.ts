import { readdirSync, readFileSync } from 'node:fs'
import { isPhsaError } from '@phsa/core'
import { verifyAttentionFixture } from '@phsa/core/testing'
import { describeBackend } from '@phsa/core/testing/vitest'
import { cuda } from '@phsa/kernels-cuda'
import { describe, expect, test } from 'vitest'

const FIXTURES = new URL('../../../fixtures/attention/', import.meta.url)

// On a machine without a GPU all of this is skipped with the reason; PHSA_REQUIRE_BACKEND=cuda makes that a failure.
describeBackend('cuda', { create: () => cuda() })

describe('fixtures', () => {
  test.for(readdirSync(FIXTURES).filter((name) => name.endsWith('.safetensors')))('%s', async (name, { skip }) => {
    const backend = await cuda().catch((error: unknown) => {
      if (!isPhsaError(error, 'backend-unavailable') || process.env.PHSA_REQUIRE_BACKEND === 'cuda') throw error
      return skip(error.message)
    })
    const report = await verifyAttentionFixture(readFileSync(new URL(name, FIXTURES)), backend)
    expect(report.checks.filter(({ ok }) => !ok)).toEqual([])
    backend.dispose()
  })
})
