import { expect, test } from 'vitest'
import { timing } from '../attention/device-timing.js'
import { BENCH_PHSA, QWEN3_06B, type TrainPlan } from '../model/model-plan.js'
import { type TrainPeersResult, trainReport } from '../report/train-report.js'
import { trainTables } from '../report/train-tables.js'
import { TRAIN_GROUPS, trainingPlan } from '../train/train-plan.js'
import { type TrainResult, trainResult } from '../train/train-result.js'
import { trainWork } from '../train/train-work.js'

const plan = { config: QWEN3_06B, phsa: BENCH_PHSA, dtype: 'bf16' } as const
const step: TrainPlan = { group: 'train', length: 4096, sequences: 8, attention: 'phsa', topK: 2, recompute: false }
const times = (milliseconds: number, hostUntilQueued: number) => ({
  elapsed: timing([milliseconds]),
  hostMilliseconds: 1,
  hostUntilQueued,
  tokensPerSecond: (32_768 / milliseconds) * 1e3,
})
const ours: TrainResult = trainResult(
  {
    format: 'phsa-model/1',
    createdAt: '2026-01-01T00:00:00Z',
    commit: '0123456789abcdef',
    device: 'NVIDIA H200, compute capability 9.0',
    parameters: 596_049_920,
    matrixFlops: 7e14,
    gate: [],
    rows: [
      {
        ...step,
        outcome: 'measured',
        queued: times(300, 60),
        captured: times(250, 5),
        classes: { linear: { milliseconds: 40, calls: 7, flops: 1e12 }, memory: { milliseconds: 1.5, calls: 1, flops: 0 } },
        peakBytes: 2 ** 35,
      },
      { ...step, attention: 'dense', topK: undefined, outcome: 'left-out', reason: 'the time for this program was over' },
    ],
  },
  plan,
)
const way = { sequences: 8, length: 4096, compiled: true, checkpointing: false, keepsLogits: true }
const peers: TrainPeersResult = {
  format: 'phsa-train-peers/1',
  device: 'NVIDIA H200',
  versions: { torch: '2.11.0' },
  rows: [
    { ...way, compiled: false, milliseconds: 600 },
    { ...way, milliseconds: 500 },
    { ...way, keepsLogits: false, skipped: 'OutOfMemoryError: no room' },
    { ...way, sequences: 1, length: 32_768, milliseconds: 100 },
  ],
}

test('a step is compared with the fastest way of the same tokens, and has its utilisation and the share of the host', () => {
  const lines = trainTables(trainReport(ours, peers)).split('\n')
  const { products, attention, denseAttention } = ours.rows[0].work
  const used = (flops: number, seconds: number) => `${Math.round((100 * flops) / seconds / 989.4e12)} %`
  expect(lines).toContain(
    `| 8 x 4,096 | topK 2 | 250 | 131,072 | ${used(products + attention, 0.25)} | 2.0 % | 32.0 | 500 | 65,536 | ${used(products + denseAttention, 0.5)} | 2.00x |`,
  )
  expect(lines).toContain('| 8 x 4,096 | dense | left-out |  |  |  |  |  |  |  |  |')
  expect(lines).toContain('| 8 x 4,096 | yes | no | computed again | OutOfMemoryError: no room |  |')
})

test('work is six FLOPs a weight and token, and three times the forward pass of attention over what is seen', () => {
  const { products, attention, denseAttention } = trainWork(plan, step)
  // 440,401,920 weights of layers and 151,936 x 1,024 of the head.
  expect(products).toBe(6 * 32_768 * (440_401_920 + 151_936 * 1024))
  expect(denseAttention).toBe(3 * 28 * 4 * 128 * 16 * 8 * ((4096 * 4097) / 2))
  expect(attention).toBeLessThan(denseAttention / 3)
  expect(trainWork(plan, { ...step, attention: 'dense' }).attention).toBe(denseAttention)
})

test('every step that has a bar is planned, the long one with recomputation', () => {
  const rows = trainingPlan(TRAIN_GROUPS).rows as readonly TrainPlan[]
  for (const group of TRAIN_GROUPS) {
    const own = rows.filter(({ sequences, length }) => `${sequences}x${length}` === group)
    expect(own.flatMap(({ topK }) => topK ?? [])).toEqual([2, 16])
    expect(own.every(({ recompute }) => recompute === (group === '1x131072'))).toBe(true)
  }
  expect(trainingPlan(['8x4096']).rows).toHaveLength(3)
})

test('peers of another GPU are refused', () => {
  expect(() => trainReport(ours, { ...peers, device: 'NVIDIA H100' })).toThrow('the peers are of NVIDIA H100')
})
