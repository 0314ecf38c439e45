import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { reference } from '@phsa/core'
import { DecoderModel, saveModel } from '@phsa/model'
import type { Calibration } from '@phsa/trainer'
import { beforeAll, describe, expect, test } from 'vitest'
import type { CalibrationReport } from '../src/calibration/calibration-report.js'
import { ownIsBetter, verdictText } from '../src/calibration/calibration-text.js'
import { fixtures, runHere, temporaryFolder } from './run-phsa.js'
import { TINY_MODEL } from './tiny-model.js'

describe('phsa calibrate', () => {
  const folder = temporaryFolder()
  const text = join(folder, 'text.txt')
  const model = join(folder, 'model')
  const calibrate = (...more: string[]) => [
    ...[
      'calibrate',
      model,
      '--text',
      text,
      '--backend',
      'reference',
      '--windows',
      '4',
      '--tokens',
      '96',
      '--rows',
      '8',
      '--lambdas',
      '0,1',
    ],
    ...more,
  ]
  beforeAll(async () => {
    writeFileSync(text, 'It is a truth, universally acknowledged; or so she said. '.repeat(60))
    const size = { hiddenSize: 8, intermediateSize: 16, layers: 1, heads: 2, kvHeads: 2, headDim: 4, maxPositions: 128 }
    const fresh = DecoderModel.create({
      config: { ...TINY_MODEL.config, ...size, vocabSize: 8192 },
      phsa: TINY_MODEL.phsa,
      backend: await reference(),
      seed: 1,
    })
    await saveModel(fresh, model, { tokenizerFrom: join(fixtures, 'tokenizer-8k') })
  })

  test('a dry run prints and writes no configuration', async () => {
    const before = readFileSync(join(model, 'config.json'), 'utf8')
    const { code, stdout, stderr } = await runHere(calibrate('--dry-run'))
    expect(stderr).toMatch(/calibrating: 4\/4/)
    expect(code).toBe(0)
    expect(stdout).toMatch(/the strongest far key is punctuation for [\d.]+ % of the queries/)
    expect(stdout).toMatch(/over lambda 1 \(mean-pool\) +[+-][\d.]+ points \(95 % interval/)
    expect(stdout).toMatch(/over lambda 0\.5 +[+-]/)
    expect(stdout).toMatch(/^representatives, score +1, softmax \(own\) +1, logit/m)
    expect(stdout).toMatch(/lambda 1 is (as good|better)|punctuation helps/)
    expect(readFileSync(join(model, 'config.json'), 'utf8')).toBe(before)
    expect(existsSync(join(model, 'config.before-calibration.json'))).toBe(false)
  })

  test('--out makes a calibrated copy, with a page beside it', async () => {
    const [out, html] = [join(folder, 'calibrated'), join(folder, 'page.html')]
    const { code, stdout } = await runHere(calibrate('--out', out, '--html', html, '--json'))
    expect(code).toBe(0)
    const { calibration, written } = JSON.parse(stdout) as CalibrationReport
    expect(written).toBe(join(out, 'config.json'))
    expect(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')).phsa.lambda).toEqual(calibration.lambda)
    expect(calibration.lambda.map(({ length }) => length)).toEqual([2])
    expect(existsSync(join(out, 'model.safetensors'))).toBe(true)
    expect(readFileSync(html, 'utf8')).toContain('Queries whose strongest far key is punctuation')
  })

  test('what could not be written is refused before the model is read', async () => {
    const { code, stderr } = await runHere(calibrate('--out', model))
    expect(code).toBe(2)
    expect(stderr).toContain('is there already')
    expect((await runHere(calibrate('--out', join(folder, 'new'), '--dry-run'))).code).toBe(2)
  })
})

test.each([
  ['helps', /^punctuation helps this model on this text: 81\.0 % calibrated, 80\.0 % with lambda 1/],
  ['as-good', /^lambda 1 is as good: .*\+1\.00 points \(95 % interval -0\.50 to \+2\.50\); punctuation does not help/],
  ['hurts', /^lambda 1 is better: .*Set phsa\.lambda to 1$/],
] as const)('the verdict %s in words', (verdict, expected) => {
  const estimate = { mean: 0.01, interval: [-0.005, 0.025] as const }
  const heldOut = { calibrated: 0.81, one: 0.8, gainOverOne: estimate } as Calibration['heldOut']
  expect(verdictText({ verdict, heldOut } as Calibration)).toMatch(expected)
})

test.each([
  [[-0.03, -0.01], true],
  [[-0.03, 0.01], false],
  [[0.01, 0.03], false],
  [undefined, false],
] as const)('a gain over what the model had of %j is no reason to write: %s', (interval, expected) => {
  const heldOut = { gainOverBefore: { mean: 0, interval } } as unknown as Calibration['heldOut']
  expect(ownIsBetter({ heldOut } as Calibration)).toBe(expected)
})
