import { attentionSpec, PHSA_32K, type ScoreKind } from '@phsa/core'
import { expect, test } from 'vitest'
import type { DeviceResult, DeviceRow } from '../attention/device-result.js'
import { timing } from '../attention/device-timing.js'
import { phaseWork } from '../attention/phase-work.js'
import { plannedProblems } from '../attention/table-rows.js'
import { BARS } from '../report/bars.js'
import { lengthPlot, topKPlot } from '../report/cost-plots.js'
import { replaceSection } from '../report/generated-section.js'
import { deviceSlug, mergeResults } from '../report/merge-results.js'
import type { PeersResult } from '../report/peers-result.js'
import { reportTables } from '../report/report-tables.js'

const heads = { heads: 16, kvHeads: 8, headDim: 128, dtype: 'bf16' } as const

function measured(length: number, topK: number, score: ScoreKind, milliseconds: number, group: DeviceRow['group'] = 'table'): DeviceRow {
  const spec = attentionSpec({ ...PHSA_32K, topK, score }, heads)
  const time = (share: number) => timing([milliseconds * share])
  const times = { pool: time(0.1), select: time(0.4), attend: time(0.5), forward: time(1), backward: time(2) }
  return { group, length, data: 'A', spec, outcome: 'measured', overlap: 0.3, inputSets: 2, times, work: phaseWork(spec, length) }
}

const ours: DeviceResult = {
  format: 'phsa-attention/1',
  createdAt: '2026-01-01T00:00:00Z',
  commit: '0123456789abcdef',
  device: 'NVIDIA H200, compute capability 9.0, 139.8 GiB, driver for CUDA 13.0',
  warmUp: 3,
  conformance: { passed: 110, failed: [] },
  rows: [
    measured(32768, 16, 'softmax', 2),
    measured(32768, 16, 'logit', 1.4),
    { ...measured(131072, 16, 'logit', 1), outcome: 'wrong', times: undefined, work: undefined },
    measured(4096, 16, 'softmax', 0.2, 'length'),
    measured(32768, 0, 'softmax', 0.5, 'top-k'),
  ],
  memory: { calls: 10_000, samples: [], flat: true },
}

const shape = { heads: 16, kvHeads: 8, length: 32768, blockSize: 16, initTokens: 128, localTokens: 512, topK: 16 }
const peers: PeersResult = {
  format: 'phsa-peers/1',
  device: 'NVIDIA H200',
  versions: { torch: '2.11.0', cudnn: 91500, triton: '3.6.0' },
  rates: { matrixFlops: 8e14, copyBytes: 4e12 },
  rows: [
    { peer: 'cudnn', name: 'cuDNN, dense', shape, passes: 'forward', milliseconds: 7 },
    { peer: 'cudnn', name: 'cuDNN, dense', shape, passes: 'forward + backward', milliseconds: 27 },
    { peer: 'flex', name: 'FlexAttention', shape, passes: 'forward', skipped: 'not done after 20 s' },
  ],
}

test('a merge rates each time and compares it with its bar', () => {
  const { rows, bars, format } = mergeResults(ours, [peers])
  expect(format).toBe('phsa-device/1')
  expect(bars).toBe(BARS)
  const [softmax, logit, wrong, short] = rows
  expect(softmax.against?.forward).toEqual({ baselineMilliseconds: 7, factor: 3.5, bar: 4, reached: false })
  expect(logit.against?.forward).toMatchObject({ bar: 5, reached: true })
  expect(softmax.against?.both).toMatchObject({ factor: 4.5, bar: 5, reached: false })
  const work = phaseWork(softmax.spec, 32768).forward
  expect(softmax.rated?.forward?.teraflops).toBeCloseTo(work.flops / 2e-3 / 1e12)
  expect(softmax.rated?.forward?.shareOfFloor).toBeCloseTo(work.flops / 8e14 / 2e-3)
  expect(wrong.rated).toBeUndefined()
  expect(short.against).toBeUndefined()
})

test('without peers there are times, and no factors nor floors', () => {
  const [row] = mergeResults(ours, []).rows
  expect(row.rated?.forward?.milliseconds).toBe(2)
  expect(row.rated?.forward?.shareOfFloor).toBeUndefined()
  expect(row.against?.forward).toBeUndefined()
})

test('files of different GPUs are not merged', () => {
  expect(() => mergeResults(ours, [{ ...peers, device: 'NVIDIA H100' }])).toThrow('ours ran on NVIDIA H200, the peers on NVIDIA H100')
})

test('the tables have figures, bars reached in bold, what is wrong as such, and equal columns', () => {
  const text = reportTables(mergeResults(ours, [peers]))
  expect(text).toContain('**5.0x (5x)**')
  expect(text).toContain('| 3.5x (4x) |')
  expect(text).toContain('| wrong |')
  expect(text).toContain('10,000 calls: device memory flat')
  const widths = text
    .split('\n\n')
    .map((block) => block.split('\n').filter((line) => line.startsWith('|')))
    .map((lines) => new Set(lines.map((line) => line.split('|').length)))
  for (const width of widths) expect(width.size).toBeLessThanOrEqual(1)
})

test('the plots have a line for each way to attend', () => {
  const report = mergeResults(ours, [peers])
  for (const svg of [lengthPlot(report), topKPlot(report)]) {
    expect(svg).toMatch(/^<svg [^>]*xmlns=/)
    expect(svg).toContain('PHSA, softmax score')
    expect(svg).toContain('dense, cuDNN')
    expect(svg).not.toMatch(/NaN|undefined/)
  }
  expect(lengthPlot(mergeResults({ ...ours, rows: [] }, []))).toBe('')
})

test('a section is replaced between its markers, and one that is not there is an error', () => {
  expect(replaceSection('a\n<!-- t:start -->\nold\n<!-- t:end -->\nb', 't', 'new')).toBe('a\n<!-- t:start -->\nnew\n<!-- t:end -->\nb')
  expect(() => replaceSection('a', 't', 'new')).toThrow('<!-- t:start -->')
})

test('every bar has a planned row, and the file is named after the GPU', () => {
  const planned = plannedProblems().filter(({ group }) => group === 'table')
  for (const bar of BARS) {
    const found = planned.filter(
      ({ length, specs }) =>
        length === bar.length &&
        specs.some((spec) => spec.heads === bar.heads && spec.topK === bar.topK && (bar.score === undefined || spec.score === bar.score)),
    )
    expect(new Set(found.map(({ data }) => data))).toEqual(new Set(['A', 'B', ...(bar.length === 8192 ? [] : ['S'])]))
  }
  expect(deviceSlug(ours)).toBe('nvidia-h200')
})
