import { expect, test } from 'vitest'
import { timing } from '../attention/device-timing.js'
import { webgpuReport } from '../report/webgpu-report.js'
import { webgpuTables } from '../report/webgpu-tables.js'
import { timeCalls } from '../webgpu/wall-timing.js'
import { specOf } from '../webgpu/webgpu-plan.js'
import type { AttentionPart, AttentionRow, WebgpuResult } from '../webgpu/webgpu-result.js'

function row(attention: AttentionRow['attention'], milliseconds: number, engine: AttentionRow['engine'] = 'webgpu'): AttentionRow {
  const spec = specOf({ length: 32_768, attention, score: 'softmax' }, 'f16')
  const parts: AttentionPart[] =
    attention === 'phsa' ? ['pool', 'select', 'attend', 'forward', 'backward', 'both'] : ['attend', 'forward', 'backward', 'both']
  const flops = { attend: 6e12, backward: 6e12 }
  const times = Object.fromEntries(parts.map((part) => [part, timing([milliseconds])]))
  return { engine, length: 32_768, attention, spec, outcome: 'measured', times, flops }
}

const result: WebgpuResult = {
  format: 'phsa-webgpu/1',
  createdAt: '2026-01-01T00:00:00.000Z',
  commit: '0123456789abcdef',
  device: 'nvidia-h200 (NVIDIA: 580), f16, subgroups of 32',
  cuda: 'NVIDIA H200, compute capability 9.0',
  dawnFlags: [],
  conformance: { passed: 12, failed: [] },
  products: [
    { engine: 'webgpu', dtype: 'f16', size: 4096, outcome: 'measured', time: timing([3]), flops: 40e12 },
    { engine: 'webgpu', dtype: 'f32', size: 4096, outcome: 'measured', time: timing([4]), flops: 33.5e12 },
    { engine: 'tfjs-webgpu', dtype: 'f32', size: 4096, outcome: 'measured', time: timing([16]), flops: 10e12 },
  ],
  attention: [
    row('phsa', 40),
    row('dense', 300),
    row('phsa', 2, 'cuda'),
    { ...row('dense', 0, 'cuda'), outcome: 'left-out', reason: 'the time' },
  ],
  modelGate: [],
  model: [
    {
      engine: 'webgpu',
      dtype: 'f16',
      what: 'decode',
      attention: 'phsa',
      length: 4096,
      sequences: 8,
      outcome: 'measured',
      time: timing([20]),
      tokensPerSecond: 400,
    },
  ],
}

test('the bars are those of the issue, of rows that were measured', () => {
  const { bars, peakFlops } = webgpuReport(result)
  expect(peakFlops).toBe(67e12)
  expect(bars.map(({ measured, least, reached }) => [Number(measured.toFixed(3)), least, reached])).toEqual([
    [3.35, 3, true],
    [7.5, 5, true],
    [7.5, 5, true],
    [0.5, 0.6, false],
    [0.5, 0.6, false],
    [0.597, 0.6, false],
    [0.597, 0.6, false],
  ])
  expect(webgpuReport({ ...result, products: [], attention: [] }).bars).toEqual([])
})

test('the tables say what was measured, and what was not', () => {
  const text = webgpuTables(webgpuReport(result))
  expect(text).toContain('| this package, f32 | 4,096 | 4.00 | 33.5 | 50 % |')
  expect(text).toContain('| 32,768 | webgpu, f16 | PHSA, softmax | 40.0 | 40.0 | 40.0 | 40.0 | 40.0 | 40.0 | 7.5x, 7.5x |')
  expect(text).toContain('| 32,768 | cuda, f16 | dense | left-out |  |  |  |  |  |  |')
  expect(text).toContain('| next token, 8 sequences | 4,096 | phsa | webgpu, f16 | 20.0 | 400 |')
  expect(text).toMatch(/commit 0123456789; /)
})

test('both passes of dense attention that were timed cold count for no more than one after the other', () => {
  const dense = row('dense', 300)
  const cold = { ...dense, times: { ...dense.times, both: timing([3000]) } }
  const report = webgpuReport({ ...result, products: [], attention: [row('phsa', 40), cold] })
  expect(report.bars.map(({ measured }) => measured)).toEqual([7.5, 15])
  expect(webgpuTables(report)).toContain('| 7.5x, 15.0x |')
})

test('dense attention is a window over all tokens', () => {
  expect(specOf({ length: 1000, attention: 'dense', score: 'softmax' }, 'f32')).toMatchObject({ topK: 0, localTokens: 1008 })
})

test('fast calls are timed many at a time, slow ones once, and the first one does not count', async () => {
  const measure = async (milliseconds: number, first = 1000) => {
    let [calls, waits, clock] = [0, 0, 0]
    const finish = async () => void waits++
    const time = await timeCalls(
      finish,
      () => {
        clock += calls++ === 0 ? first : milliseconds
      },
      () => clock,
    )
    return { calls, waits, time }
  }
  const fast = await measure(0.5)
  expect(fast.time).toEqual({ milliseconds: 0.5, deviation: 0, samples: Array(5).fill(0.5) })
  expect([fast.calls, fast.waits]).toEqual([2 + 6 * 50, 8])
  const slow = await measure(900)
  expect([slow.time.samples, slow.calls]).toEqual([[900], 2])
  const slowest = await measure(4000, 4000)
  expect([slowest.time.samples, slowest.calls]).toEqual([[4000], 1])
})
