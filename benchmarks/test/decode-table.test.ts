import { attentionSpec, PHSA_32K } from '@phsa/core'
import { expect, test } from 'vitest'
import type { DecodeRow } from '../decode/decode-result.js'
import { decodeReport } from '../report/decode-report.js'
import { decodeTable } from '../report/decode-table.js'

const spec = attentionSpec(PHSA_32K, { heads: 16, kvHeads: 8, headDim: 128, dtype: 'bf16' })
const timing = (milliseconds: number) => ({ milliseconds, deviation: 0, samples: [milliseconds] })
const row = (batch: number, dense: boolean, change: Partial<DecodeRow>): DecodeRow => ({
  batch,
  length: 32_769,
  dense,
  spec,
  pageTokens: 64,
  outcome: 'measured',
  ...change,
})

test('a line a batch, with shares of the copy rate, bars that are reached in bold, and what was not measured by name', () => {
  const table = decodeTable(
    decodeReport({
      format: 'phsa-decode/1',
      createdAt: '2026-01-01T00:00:00.000Z',
      commit: '0123456789abcdef',
      device: 'a GPU',
      copyBytes: 4e12,
      conformance: { passed: 1, failed: [] },
      rows: [
        row(1, false, {
          times: { layer: timing(0.02), 'select and attend': timing(0.01) },
          bytes: { layer: 4e6, 'select and attend': 4e6 },
        }),
        row(1, true, { times: { attend: timing(0.1) }, bytes: { attend: 3e8 } }),
        row(8, false, { times: { 'select and attend': timing(0.01) }, bytes: { 'select and attend': 3.2e7 } }),
        row(8, true, { outcome: 'left-out', reason: 'the time was over' }),
      ],
    }),
  )
  expect(table).toContain('commit 0123456789;')
  expect(table).toContain('| 1, 32,768 | 20.0 us (5 %) | 10.0 us (10 %) | 100 us (75 %) | 15 us a layer |')
  expect(table).toContain('| 8, 32,768 |  | 10.0 us (80 %) | left-out | **60 %** |')
})
