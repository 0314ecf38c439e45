import { expect, test } from 'vitest'
import { timing } from '../attention/device-timing.js'
import { type ServePeersResult, serveReport } from '../report/serve-report.js'
import { serveTables } from '../report/serve-tables.js'
import type { StreamAnswer } from '../serve/client-streams.js'
import { decodeWindow } from '../serve/decode-window.js'
import { fullServePlan, rowName } from '../serve/serve-plan.js'
import type { ServeResult, ServeRow } from '../serve/serve-result.js'

const row = (context: number, batch: number, attention: 'phsa' | 'dense', tokensPerSecond: number, stepBytes: number): ServeRow => ({
  context,
  batch,
  attention,
  outcome: 'measured',
  ...(batch === 1 && { firstToken: timing([attention === 'phsa' ? 10 : 60]) }),
  firstTokens: [10],
  decode: {
    tokens: 100,
    milliseconds: 1,
    tokensPerSecond,
    step: timing([2]),
    device: timing([1.9]),
    host: timing([0.05]),
    idle: timing([0.08]),
  },
  stepBytes,
  preemptions: 0,
})
const ours: ServeResult = {
  format: 'phsa-serve/1',
  createdAt: '2026-01-01T00:00:00Z',
  commit: '0123456789abcdef',
  device: 'NVIDIA H200, compute capability 9.0',
  parameters: 596_049_920,
  weightBytes: 1e9,
  copyBytes: 4e12,
  cacheBytes: 2 ** 36,
  topK: 16,
  stepTokens: 4096,
  gate: { tokens: 8, equalTokens: { 'phsa 800': 8 }, differences: { 'phsa 800': 0.01 }, checks: [] },
  same: [{ beside: 'batch', temperature: 1, batch: 64, tokens: 64, equalTokens: 40, equalLogprobs: 3, largestDifference: 0.002 }],
  rows: [
    row(1024, 1, 'phsa', 2000, 1e9),
    row(131_072, 1, 'phsa', 500, 1e9),
    row(131_072, 1, 'dense', 100, 1e10),
    row(131_072, 4, 'phsa', 800, 2e9),
    row(131_072, 4, 'dense', 160, 6e10),
    { context: 1024, batch: 8, attention: 'phsa', outcome: 'failed', reason: 'Error: no' },
  ],
}
const peers: ServePeersResult = {
  format: 'phsa-serve-peers/1',
  device: 'NVIDIA H200',
  versions: { torch: '2.11.0' },
  rows: [
    { what: 'step', context: 1024, batch: 1, attention: 'flash', compiled: true, milliseconds: 1 },
    { what: 'step', context: 1024, batch: 1, attention: 'cudnn', compiled: true, milliseconds: 3 },
    { what: 'step', context: 1024, batch: 1, attention: 'products', compiled: true, skipped: 'RuntimeError: no' },
  ],
}

test('bars count the step as clients see it, bytes over the rate of a copy, and the fastest way of PyTorch', () => {
  const lines = serveTables(serveReport([{ ours, peers }])).split('\n')
  expect(lines).toContain('| 1,024 tokens, one stream: weights at the rate of a copy, over a step | **50 %** | 40 % |')
  expect(lines).toContain('| 131,072 tokens, 4 streams: PHSA over dense | 5.00x | 8.00x |')
  expect(lines).toContain('| 131,072 tokens, 4 streams, dense: share of a copy | **60 %** | 60 % |')
  expect(lines).toContain('| 131,072 tokens: first token, PHSA over dense | **6.00x** | 5.00x |')
  expect(lines).toContain('| share of a step that the GPU waits for the host, the largest of all rows | **4.0 %** | 5.0 % |')
  expect(lines).toContain('| 1,024 | 1 | 2,000 (50 %) | 0.50 | 1.90 | 2.5 % | 4.0 % |  |  |  | 1,000 | 2.00x |')
  expect(lines).toContain('| in a batch of 64 | 1 | 40 of 64 | 3 | 2.0e-3 |')
})

test('of a row that several runs have the latest that was measured counts', () => {
  const later: ServeResult = {
    ...ours,
    createdAt: '2026-01-02T00:00:00Z',
    rows: [row(1024, 1, 'phsa', 1000, 1e9), { context: 131_072, batch: 4, attention: 'dense', outcome: 'failed', reason: 'Error: no' }],
  }
  const lines = serveTables(serveReport([{ ours: later }, { ours }])).split('\n')
  expect(lines).toContain('| 1,024 tokens, one stream: weights at the rate of a copy, over a step | 25 % | 40 % |')
  expect(lines).toContain('| 131,072 tokens, 4 streams: PHSA over dense | 5.00x | 8.00x |')
  const first = serveTables(serveReport([{ ours }, { ours: { ...later, promptTokens: 16_384 } }])).split('\n')
  expect(first).toContain('| 1,024 | 16,384 | 10.0 |  |  |  |  |')
  expect(first).toContain('| 131,072 | its default | 10.0 | 60.0 | 6.00x |  |  |')
  expect(() => serveReport([{ ours, peers: { ...peers, device: 'NVIDIA H100' } }])).toThrow('another of NVIDIA H100')
})

test('the window begins where the last stream has warmed up and ends with the first one', () => {
  const stream = (times: number[]): StreamAnswer => ({ sent: 0, times, ids: times, logprobs: [], reason: 'length' })
  const steps = [4, 5, 6, 7, 9].map((at) => ({ at, host: 0.25, device: 0.5, idle: 0.25 }))
  const figures = decodeWindow([stream([1, 2, 3, 4, 5, 6, 7]), stream([3, 4, 5, 6, 7, 8, 9])], steps, 2)
  expect(figures).toMatchObject({ tokens: 6, milliseconds: 3, tokensPerSecond: 2000 })
  expect(figures.step?.samples).toEqual([1, 1])
  expect(figures.device?.samples).toEqual([0.5, 0.5, 0.5])
  expect(() => decodeWindow([stream([1, 2]), stream([3, 4])], [], 2)).toThrow('never under way together')
})

test('the plan has every context and batch, PHSA and dense, and caches for the longest of them', () => {
  const { rows, cacheTokens, config } = fullServePlan()
  expect(rows.map(rowName).filter((name) => name.endsWith('-phsa'))).toEqual(
    ['1024x1', '1024x8', '1024x64', '32768x1', '32768x8', '32768x16', '131072x1', '131072x4'].map((name) => `${name}-phsa`),
  )
  expect(rows).toHaveLength(16)
  expect(cacheTokens).toBeGreaterThanOrEqual(Math.max(...rows.map(({ context, batch }) => (context + 300) * batch)))
  expect(config.maxPositions).toBeGreaterThan(131_072 + 300)
})
