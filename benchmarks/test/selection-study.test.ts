import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PunctuationTable, reference } from '@phsa/core'
import { needleRows, type StepEvent, TextDataset, type TrainingData, textNeedle } from '@phsa/trainer'
import { afterAll, expect, test } from 'vitest'
import type { StartResult } from '../study/dense-start.js'
import { runSeed } from '../study/run-seed.js'
import { stepTimes } from '../study/step-times.js'
import { readStudyConfig, type StudyConfig, studyIdentity } from '../study/study-config.js'
import type { StudyData } from '../study/study-data.js'
import { workFolder } from '../study/study-session.js'
import type { BranchResult } from '../study/train-branch.js'

const folder = mkdtempSync(join(tmpdir(), 'phsa-study-'))
afterAll(() => rmSync(folder, { recursive: true }))

const config: StudyConfig = {
  model: {
    vocabSize: 256,
    hiddenSize: 8,
    intermediateSize: 8,
    layers: 2,
    heads: 2,
    kvHeads: 1,
    headDim: 8,
    rmsNormEpsilon: 1e-6,
    ropeTheta: 10_000,
    maxPositions: 192,
    tieWordEmbeddings: true,
    eosTokenIds: [0],
  },
  dtype: 'f32',
  phsa: { blockSize: 16, initTokens: 16, localTokens: 16, topK: 2 },
  seeds: [3],
  steps: 4,
  denseSteps: 2,
  batch: { sequences: 1, tokens: 160 },
  optimizer: { learningRate: 0.01, warmupSteps: 1, decay: 'wsd' },
  needles: { needles: { least: 1, most: 1 } },
  evaluation: {
    topKs: [1, 2],
    retrieval: { lengths: [150], depths: [0.3], trials: 2, batchTokens: 1000 },
    windows: 1,
    rows: 2,
    calibration: { windows: 4, rows: 2 },
    probe: { every: 1, trials: 1 },
  },
  branches: [
    { name: 'dense', policy: 'dense' },
    { name: 'learned', policy: 'phsa', distillation: { lambda: 'learned', rowsPerSequence: 4 } },
    { name: 'calibrated', policy: 'phsa', calibratedLambda: true, phsa: { representatives: 2 } },
  ],
}

/** A token a byte. */
const tokenizer = { encode: (text: string) => new TextEncoder().encode(text), eosTokenId: 0 }
const text = 'A fox saw grapes, ripe and high. It leapt; it missed. "They are sour," said the fox, and left. '.repeat(12)

async function studyData(): Promise<StudyData> {
  const valid = await TextDataset.fromText(text, tokenizer)
  const task = textNeedle(tokenizer)
  return {
    train: needleRows({ ...config.needles, data: valid, task }),
    valid,
    haystack: Int32Array.from(tokenizer.encode(text)),
    task,
    punctuation: new PunctuationTable(new Map([...'.,;"'].map((mark) => [mark.charCodeAt(0), mark])), 256),
    sources: [{ name: 'fox.txt', sha256: '00' }],
  }
}

interface Sitting {
  /** Ends the sitting when this is said. */
  readonly stopAt?: RegExp
  /** Ends the sitting when this row is trained on. */
  readonly stopAtRow?: number
  readonly startOnly?: boolean
  readonly changes?: Partial<StudyConfig>
}

/** A sitting in a folder of its own name; whether it came to its end, and what it said. */
async function sit(name: string, { stopAt, stopAtRow, startOnly, changes }: Sitting = {}): Promise<{ isDone: boolean; lines: string[] }> {
  const stop = new AbortController()
  const timeIsUp = new Error('the time is up')
  const lines: string[] = []
  const say = (line: string) => {
    lines.push(line)
    if (stopAt?.test(line)) stop.abort(timeIsUp)
  }
  const [out, work] = [join(folder, name, 'results'), join(folder, name, 'work')]
  const data = await studyData()
  const train: TrainingData = {
    ...data.train,
    rows(options) {
      const rows = data.train.rows(options)
      return {
        row(index) {
          if (index === stopAtRow) stop.abort(timeIsUp)
          return rows.row(index)
        },
      }
    },
  }
  const run = {
    ...{ config: { ...config, ...changes }, data: { ...data, train }, seed: 3 },
    ...{ out, work, commit: 'test', startOnly, signal: stop.signal, say },
  }
  try {
    await runSeed({ ...run, backend: await reference() })
    return { isDone: true, lines }
  } catch (error) {
    if (error !== timeIsUp) throw error
    return { isDone: false, lines }
  }
}

/** Results without what differs from run to run. */
function results(name: string): Map<string, unknown> {
  const path = join(folder, name, 'results/seed-3')
  return new Map(
    readdirSync(path).map((file) => {
      const { createdAt: _, milliseconds: __, ...result } = JSON.parse(readFileSync(join(path, file), 'utf8'))
      return [file, result]
    }),
  )
}

const whole = await sit('whole')

test('every branch leaves a result with all measurements', () => {
  expect(whole.isDone).toBe(true)
  const found = results('whole')
  expect([...found.keys()].sort()).toEqual(['calibrated.json', 'dense.json', 'learned.json', 'start.json'])
  const start = found.get('start.json') as StartResult
  expect(start.probes.map(({ step }) => step)).toEqual([1, 2])
  expect(start.curve.at(-1)?.step).toBe(2)
  expect(start.texts).toEqual([{ name: 'fox.txt', sha256: '00' }])
  const linesOf = (file: string) => (found.get(file) as BranchResult).retrieval.map(({ policy, topK }) => `${policy} ${topK}`)
  expect(linesOf('dense.json')).toEqual(['dense dense', 'phsa 1', 'phsa 2', 'mean-pool 1', 'mean-pool 2', 'infllm-v2 1', 'infllm-v2 2'])
  expect(linesOf('learned.json')).toEqual(['dense dense', 'phsa 1', 'phsa 2', 'mean-pool 1', 'mean-pool 2'])
  const [learned, calibrated] = ['learned.json', 'calibrated.json'].map((file) => found.get(file) as BranchResult)
  expect(learned.phsa.lambda).not.toBe(0.5)
  expect(calibrated.phsa).toMatchObject({ lambda: start.calibration.lambda, representatives: 2 })
  expect(learned.curve.at(-1)).toMatchObject({ step: 4, distillationLoss: expect.any(Number) })
  expect(calibrated.curve.at(-1)).not.toHaveProperty('distillationLoss')
  expect(learned.selections).toHaveLength(5)
})

test.each([/start, step 1/, /learned, step 4/])('a study that was stopped at "%s" goes on to the same results', async (stopAt) => {
  const name = `stopped ${stopAt.source}`
  expect((await sit(name, { stopAt })).isDone).toBe(false)
  expect((await sit(name)).isDone).toBe(true)
  expect(results(name)).toEqual(results('whole'))
})

test('what is done is not done again, and other settings are not mixed in', async () => {
  expect(await sit('whole')).toEqual({ isDone: true, lines: [] })
  await expect(sit('whole', { changes: { needles: { answerWeight: 1 } } })).rejects.toThrow('made with other settings')
  const changes = { branches: config.branches.map((branch) => (branch.name === 'learned' ? { ...branch, phsa: { topK: 4 } } : branch)) }
  await expect(sit('whole', { changes })).rejects.toThrow('learned.json was made with other settings')
})

test('more seeds and branches leave results as they are', () => {
  const wider = { ...config, seeds: [1, 2], branches: [...config.branches, { name: 'more', policy: 'mean-pool' as const }] }
  expect(studyIdentity(wider)).toBe(studyIdentity(config))
  expect(studyIdentity(wider, config.branches[1])).toBe(studyIdentity(config, config.branches[1]))
  expect(studyIdentity({ ...config, steps: 5 })).not.toBe(studyIdentity(config))
})

test('a study that was stopped in a step with a probe has that probe all the same', async () => {
  expect((await sit('probed', { stopAtRow: 0 })).isDone).toBe(false)
  expect((await sit('probed', { startOnly: true })).isDone).toBe(true)
  expect(results('probed').get('start.json')).toEqual(results('whole').get('start.json'))
})

test('what was begun with other settings is not gone on with', () => {
  const folderOf = (changes: Partial<StudyConfig>) => workFolder({ config: { ...config, ...changes }, work: folder, seed: 3 })
  expect(folderOf({ optimizer: { ...config.optimizer, learningRate: 0.02 } })).not.toBe(folderOf({}))
  expect(folderOf({ seeds: [1, 2] })).toBe(folderOf({}))
})

test('each topK counts in the time of a step by as many steps as it had', () => {
  const event = (topK: number, milliseconds: number) => ({ topK, tokensPerSecond: 1e5 / milliseconds }) as StepEvent
  const falling = [event(16, 90), event(16, 40), event(2, 70), event(2, 70), event(2, 70), event(2, 20), event(2, 20), event(2, 20)]
  const { mean, median, quartiles } = stepTimes(falling, 100)
  expect([mean, median, ...quartiles].map(Math.round)).toEqual([25, 20, 20, 20])
})

test('configurations that cannot be told apart are refused', () => {
  const path = join(folder, 'config.json')
  const written = (changes: object) => writeFileSync(path, JSON.stringify({ ...config, ...changes }))
  written({ branches: [config.branches[0], config.branches[0]] })
  expect(() => readStudyConfig(path)).toThrow('branch 1 is called dense')
  written({ branches: [{ name: 'start', policy: 'dense' }] })
  expect(() => readStudyConfig(path)).toThrow('called start')
  written({ denseSteps: 4 })
  expect(() => readStudyConfig(path)).toThrow('denseSteps is 4 of 4')
})

test.each(['config.json', 'small.json'])('%s of the study can be read', (name) => {
  const path = fileURLToPath(new URL(`../../docs/runs/selection-study/${name}`, import.meta.url))
  expect(readStudyConfig(path).branches.length).toBeGreaterThan(0)
})
