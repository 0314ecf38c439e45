import { expect, test } from 'vitest'
import { timing } from '../attention/device-timing.js'
import type { ModelResult, ModelRow, RunTimes } from '../model/model-result.js'
import { type ModelPeersResult, modelReport } from '../report/model-report.js'
import { modelTables } from '../report/model-tables.js'

const times = (milliseconds: number, hostMilliseconds: number, tokens: number): RunTimes => ({
  elapsed: timing([milliseconds]),
  hostMilliseconds,
  tokensPerSecond: (tokens / milliseconds) * 1e3,
})
const classes = {
  linear: { milliseconds: 30, calls: 7, flops: 12e12 },
  select: { milliseconds: 4, calls: 1, flops: 0 },
  pool: { milliseconds: 1, calls: 1, flops: 0 },
  embedding: { milliseconds: 0.25, calls: 1, flops: 0 },
}
const rows: ModelRow[] = [
  {
    group: 'prefill',
    length: 4096,
    attention: 'phsa',
    form: 'packed',
    outcome: 'measured',
    queued: times(50, 5, 4096),
    classes,
    peakBytes: 2 ** 30,
    overlap: 0.3,
  },
  {
    group: 'prefill',
    length: 131_072,
    attention: 'dense',
    form: 'packed',
    outcome: 'left-out',
    reason: 'the time for this program was over',
  },
  {
    group: 'train',
    length: 4096,
    attention: 'phsa',
    outcome: 'measured',
    queued: times(200, 20, 4096),
    captured: times(100, 1, 4096),
    classes,
  },
  {
    group: 'decode',
    length: 4096,
    attention: 'dense',
    planned: 64,
    outcome: 'measured',
    batch: 16,
    queued: times(20, 10, 16),
    captured: times(4, 0.1, 16),
    classes,
  },
]
const ours: ModelResult = {
  format: 'phsa-model/1',
  createdAt: '2026-01-01T00:00:00Z',
  commit: '0123456789abcdef',
  device: 'NVIDIA H200, compute capability 9.0, 139.8 GiB, driver for CUDA 13.0',
  parameters: 596_049_920,
  matrixFlops: 8e14,
  gate: [{ name: 'f32 dense loss', measured: 0, bound: 1e-4, ok: true }],
  rows,
}
const peers: ModelPeersResult = {
  format: 'phsa-model-peers/1',
  device: 'NVIDIA H200',
  versions: { torch: '2.11.0' },
  rows: [
    { group: 'prefill', length: 4096, milliseconds: 75 },
    { group: 'train', length: 4096, milliseconds: 150 },
  ],
}

/** Cells of the row of a table that begins with these. */
function cells(tables: string, ...first: string[]): Record<string, string> {
  const split = (line: string) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim())
  const lines = tables.split('\n')
  const at = lines.findIndex((line) => line.startsWith(`| ${first.join(' | ')} |`))
  const head = lines.slice(0, at).findLastIndex((line) => line.startsWith('| --- '))
  const names = split(lines[head - 1])
  return Object.fromEntries(split(lines[at]).map((cell, column) => [names[column], cell]))
}

test('a prompt has its rate, its factor over PyTorch, and its time by kind with the share of the matrix rate', () => {
  expect(cells(modelTables(modelReport(ours, peers)), 'prompt', '4,096', 'phsa')).toMatchObject({
    ms: '50.0',
    'tokens/s': '81,920',
    PyTorch: '75.0',
    faster: '1.50x',
    'pool, select': '5.00',
    products: '30.0 (50 %)',
    attend: '',
    rest: '0.25',
    GiB: '1.0',
    host: '5.00',
  })
})

test('a recorded step counts where it is faster, also against PyTorch', () => {
  const tables = modelTables(modelReport(ours, peers))
  expect(cells(tables, 'training step', '4,096', 'phsa')).toMatchObject({
    ms: '200',
    recorded: '100',
    faster: '1.50x',
    host: '20.0, recorded 1.00',
  })
  expect(cells(tables, 'batch 16', '4,096', 'dense')).toMatchObject({
    recorded: '4.00',
    'tokens/s': '4,000',
    products: '30.0 (50 %)',
    rest: '0.25',
  })
})

test('what was not measured says so, and without peers there are no factors', () => {
  const tables = modelTables(modelReport(ours, undefined))
  expect(cells(tables, 'prompt', '131,072', 'dense').ms).toBe('left-out')
  expect(cells(tables, 'prompt', '4,096', 'phsa')).toMatchObject({ PyTorch: '', faster: '' })
})

test('peers of another GPU are refused', () => {
  expect(() => modelReport(ours, { ...peers, device: 'NVIDIA H100' })).toThrow('ours is of NVIDIA H200, the peers are of NVIDIA H100')
})
