import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { phsaConfig, reference } from '@phsa/core'
import { DecoderModel } from '@phsa/model'
import { createTrainer, TextDataset } from '@phsa/trainer'
import { beforeAll, describe, expect, test } from 'vitest'
import { runHere, temporaryFolder } from './run-phsa.js'

const folder = temporaryFolder()
const run = join(folder, 'run')

describe('phsa export', () => {
  beforeAll(async () => {
    const trainer = createTrainer({
      model: DecoderModel.create({
        config: {
          vocabSize: 16,
          hiddenSize: 8,
          intermediateSize: 16,
          layers: 1,
          heads: 2,
          kvHeads: 1,
          headDim: 4,
          rmsNormEpsilon: 1e-6,
          ropeTheta: 10_000,
          maxPositions: 64,
          tieWordEmbeddings: true,
          eosTokenIds: [0],
        },
        backend: await reference(),
        phsa: phsaConfig({ blockSize: 4, initTokens: 4, localTokens: 8, topK: 1 }),
        seed: 1,
      }),
      data: new TextDataset([Int32Array.from({ length: 60 }, (_, index) => 1 + (index % 7))], 0),
      batch: { sequences: 1, tokens: 16 },
      steps: 2,
      ema: { decay: 0.5 },
      checkpoint: { folder: join(run, 'checkpoints'), every: 1 },
    })
    for await (const { step } of trainer) expect(step).toBeLessThanOrEqual(2)
  })

  test('takes the newest checkpoint of a run, or the one that is named', async () => {
    const out = join(folder, 'model')
    const { code, stdout, stderr } = await runHere(['export', run, '--out', out])
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toBe(`the weights after step 2, of ${join(run, 'checkpoints/step-00000002')}; model in ${out}\n`)
    expect(readdirSync(out).sort()).toEqual(['config.json', 'generation_config.json', 'model.safetensors'])

    const first = join(run, 'checkpoints/step-00000001')
    const other = join(folder, 'ema')
    const named = await runHere([
      'export',
      first,
      '--weights',
      'ema',
      '--dtype',
      'bf16',
      '--shard-gigabytes',
      '1e-6',
      '--out',
      other,
      '--json',
    ])
    expect(JSON.parse(named.stdout)).toEqual({ checkpoint: first, step: 1, weights: 'ema', model: other })
    expect(readdirSync(other)).toContain('model.safetensors.index.json')
  })

  test('says what there is not', async () => {
    const out = join(folder, 'nothing')
    const best = await runHere(['export', run, '--best', '--out', out])
    expect([best.code, best.stdout]).toEqual([2, ''])
    expect(best.stderr).toContain('has a validation loss; set validation')
    const none = await runHere(['export', folder, '--out', out])
    expect(none.stderr).toContain('holds none')
    const other = await runHere(['export', run, '--out', join(run, 'checkpoints/step-00000001')])
    expect([other.code, other.stderr]).toEqual([2, expect.stringContaining('lies in the checkpoint')])
    expect(readdirSync(folder)).not.toContain('nothing')
  })
})
