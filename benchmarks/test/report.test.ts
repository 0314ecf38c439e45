import { attentionSpec, PHSA_32K, type ScoreKind } from '@phsa/core'
import { expect, test } from 'vitest'
import type { DeviceResult, DeviceRow } from '../attention/device-result.js'
import { timing } from '../attention/device-timing.js'
import { phaseWork } from '../attention/phase-work.js'
import { plannedProblems } from '../attention/table-rows.js'
import { BARS } from '../report/bars.js'
import { lengthPlot, topKPlot } from '../report/cost-plots.js'
import { lengthCurve } from '../report/curves.js'
import { replaceSection } from '../report/generated-section.js'
import { type BenchRun, deviceSlug, mergeResults } from '../report/merge-results.js'
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
  const { rows, bars, format } = mergeResults([{ ours, peers: [peers] }])
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
  const [row] = mergeResults([{ ours, peers: [] }]).rows
  expect(row.rated?.forward?.milliseconds).toBe(2)
  expect(row.rated?.forward?.shareOfFloor).toBeUndefined()
  expect(row.against?.forward).toBeUndefined()
})

test('files of different GPUs are not merged', () => {
  expect(() => mergeResults([{ ours, peers: [{ ...peers, device: 'NVIDIA H100' }] }])).toThrow(
    'one file is of NVIDIA H200, another of NVIDIA H100',
  )
})

test('the tables have figures, bars reached in bold, what is wrong as such, and equal columns', () => {
  const text = reportTables(mergeResults([{ ours, peers: [peers] }]))
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
  const report = mergeResults([{ ours, peers: [peers] }])
  for (const svg of [lengthPlot(report), topKPlot(report)]) {
    expect(svg).toMatch(/^<svg [^>]*xmlns=/)
    expect(svg).toContain('PHSA, softmax score')
    expect(svg).toContain('dense, cuDNN')
    expect(svg).not.toMatch(/NaN|undefined/)
  }
  expect(lengthPlot(mergeResults([{ ours: { ...ours, rows: [] }, peers: [] }]))).toBe('')
})

test('a later run fills in what an earlier one left out, each row names its run, and factors stay within a run', () => {
  const left = { ...measured(8192, 16, 'logit', 1, 'length'), outcome: 'left-out' as const, times: undefined, work: undefined }
  const first = { ours: { ...ours, rows: [...ours.rows, left] }, peers: [peers] }
  const filled = measured(8192, 16, 'logit', 0.4, 'length')
  const dropped = { ...ours.rows[0], outcome: 'left-out' as const, times: undefined, work: undefined }
  const second: BenchRun = {
    ours: {
      ...ours,
      createdAt: '2026-01-02T00:00:00Z',
      commit: 'fedcba9876543210',
      rows: [filled, dropped, measured(131072, 16, 'logit', 5)],
    },
    peers: [],
  }
  for (const order of [
    [first, second],
    [second, first],
  ]) {
    const { rows, runs, peers: merged } = mergeResults(order)
    expect(runs.map(({ commit }) => commit)).toEqual(['0123456789abcdef', 'fedcba9876543210'])
    const found = (length: number, score: ScoreKind) =>
      rows.filter((row) => row.length === length && row.spec.score === score && row.spec.topK === 16)
    expect(found(8192, 'logit')).toMatchObject([
      { outcome: 'measured', run: { createdAt: '2026-01-02T00:00:00Z', commit: 'fedcba9876543210' } },
    ])
    expect(found(32768, 'softmax')).toMatchObject([
      { outcome: 'measured', run: { commit: '0123456789abcdef' }, against: { forward: { factor: 3.5 } } },
    ])
    // Its run had no peers; those of the other one are no measure for it.
    expect(found(131072, 'logit')[0].against?.forward).toBeUndefined()
    expect(merged.every(({ run }) => run.commit === '0123456789abcdef')).toBe(true)
  }
})

test('a curve is of one run, the one with most places, and one place is no curve', () => {
  const later = (rows: readonly DeviceRow[]): BenchRun => ({ ours: { ...ours, createdAt: '2026-01-02T00:00:00Z', rows }, peers: [] })
  const lengths = [4096, 8192, 16384].map((length) => measured(length, 16, 'logit', length / 1e4, 'length'))
  const curve = lengthCurve(mergeResults([{ ours, peers: [peers] }, later(lengths)]))
  expect(curve.places).toEqual([4096, 8192, 16384])
  expect(new Set(curve.rows.map(({ run }) => run.createdAt))).toEqual(new Set(['2026-01-02T00:00:00Z']))
  const single = mergeResults([later([measured(32768, 16, 'logit', 1), measured(32768, 16, 'softmax', 2)])])
  expect([lengthPlot(single), topKPlot(single)]).toEqual(['', ''])
  expect(reportTables(single)).not.toMatch(/Forward by/)
})

test.each([
  [['length', 'top-k'] as const, [4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576], [0, 1, 2, 4, 8, 16, 32, 64]],
  [['top-k'] as const, [], [0, 1, 2, 4, 8, 16, 32, 64]],
])('--only %s plans whole curves, forward only', (groups, lengths, topKs) => {
  const planned = plannedProblems(groups)
  const of = (name: string) => planned.filter(({ group }) => group === name)
  expect(planned.some(({ backward, group }) => backward || group === 'table')).toBe(false)
  expect(
    of('length')
      .map(({ length }) => length)
      .sort((left, right) => left - right),
  ).toEqual(lengths)
  expect([...new Set(of('top-k').flatMap(({ specs }) => specs.map(({ topK }) => topK)))]).toEqual(topKs)
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
