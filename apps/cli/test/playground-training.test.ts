// The training of the bundled model: apps/playground/training.
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { beforeAll, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { phsaCommand, phsaEnvironment } from './phsa-command.js'
import { copyAssets, fixtures, runHere, temporaryFolder } from './run-phsa.js'

const playground = fileURLToPath(new URL('../../playground/', import.meta.url))
const config = parse(readFileSync(join(playground, 'training/train.yaml'), 'utf8'))
const model = JSON.parse(readFileSync(join(playground, 'public/model/config.json'), 'utf8'))
const text = gunzipSync(readFileSync(join(fixtures, 'text/train.txt.gz'))).toString('utf8')

beforeAll(copyAssets, 60_000)

test('the model that is here has the shape of its configuration, and attends as it was trained to', () => {
  const { shape } = config.run
  expect(shape).toEqual({
    hiddenSize: model.hidden_size,
    intermediateSize: model.intermediate_size,
    layers: model.num_hidden_layers,
    heads: model.num_attention_heads,
    kvHeads: model.num_key_value_heads,
    headDim: model.head_dim,
    ropeTheta: model.rope_theta,
    maxPositions: model.max_position_embeddings,
  })
  expect(model.phsa).toMatchObject(config.phsa)
})

test('its configuration holds, on the text that it is for', async () => {
  const folder = temporaryFolder()
  copyFileSync(join(playground, 'training/train.yaml'), join(folder, 'train.yaml'))
  const source = join(folder, 'text.txt')
  writeFileSync(source, text.slice(0, 200_000))
  for (const name of ['text', 'recall']) {
    const { code, stderr } = await runHere(['tokenize', source, '--out', join(folder, 'run/tokens', name)])
    expect(code, stderr).toBe(0)
  }
  writeFileSync(join(folder, 'run/valid.txt'), text.slice(0, 600_000))
  const { code, stdout, stderr } = await runHere(['train', join(folder, 'train.yaml'), '--check', '--json', '--backend', 'reference'])
  expect(code, stderr).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({ parameters: 4_674_112, config: { run: { steps: 3200 } } })
})

test('one command makes the data, trains and leaves a model folder', async () => {
  const folder = temporaryFolder()
  for (const name of ['train.mjs', 'recall-text.mjs']) copyFileSync(join(playground, 'training', name), join(folder, name))
  mkdirSync(join(folder, 'run'))
  const tiny = {
    ...config,
    dtype: 'f32',
    backend: 'reference',
    run: { ...config.run, shape: { hiddenSize: 8, layers: 1, heads: 2, kvHeads: 1, headDim: 4 }, steps: 3 },
    batch: { tokens: 48, sequences: 1 },
    optimizer: { ...config.optimizer, warmupSteps: 1 },
    phsa: { ...config.phsa, localTokens: 16, initTokens: 0 },
    validation: { ...config.validation, windows: 1, every: 3 },
  }
  writeFileSync(join(folder, 'train.yaml'), stringify(tiny))
  const source = join(folder, 'text.txt')
  writeFileSync(source, text.slice(0, 20_000))
  // Less than train.mjs would make of it.
  const recall = join(folder, 'run/recall.txt')
  execFileSync(process.execPath, [join(folder, 'recall-text.mjs'), source, recall, '6000'])
  expect(readFileSync(recall, 'utf8')).toMatch(/What is the code of the (\w+ \w+)\? The code of the \1 is \d{5}\./)
  // What train.mjs starts: the command that tests start.
  const phsa = join(folder, 'phsa.js')
  writeFileSync(
    phsa,
    `const { status } = require('node:child_process').spawnSync(process.execPath, [...${JSON.stringify(phsaCommand)}, ...process.argv.slice(2)], { stdio: 'inherit' }); process.exit(status)`,
  )
  const out = join(folder, 'exported')
  execFileSync(process.execPath, [join(folder, 'train.mjs'), source, source, '--phsa', phsa, '--out', out], {
    env: { ...process.env, ...phsaEnvironment },
    stdio: 'pipe',
  })
  const trained = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'))
  expect(trained).toMatchObject({ num_hidden_layers: 1, torch_dtype: 'bfloat16', phsa: { topK: 2 } })
})
