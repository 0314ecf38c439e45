import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BackendLostError, InvalidFileError } from '@phsa/core'
import { beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { describeError } from '../src/describe-error.js'
import { ExitCode } from '../src/exit-code.js'
import { stoppedRun } from '../src/training/stopped-run.js'
import { writeByteTokenizer } from './byte-tokenizer.js'
import { type PhsaRun, runHere, temporaryFolder } from './run-phsa.js'

const SENTENCE = 'It is a truth, universally acknowledged; or so she said. '
const folder = temporaryFolder()
const config = join(folder, 'run.yaml')
const examples = fileURLToPath(new URL('../../../examples/', import.meta.url))

const TINY = {
  out: 'out',
  backend: 'reference',
  run: { shape: { hiddenSize: 8, layers: 1, heads: 2, kvHeads: 1, headDim: 4 }, tokenizer: 'bytes', steps: 3 },
  data: { sources: ['text.txt'] },
  batch: { tokens: 48, sequences: 1 },
  phsa: { localTokens: 16 },
}

/** Runs with a file that has other settings than the tiny run. */
async function trainWith(changes: object, ...args: string[]): Promise<PhsaRun> {
  writeFileSync(config, stringify({ ...TINY, ...changes }))
  return runHere(['train', config, ...args])
}

describe('phsa train CONFIG', () => {
  beforeAll(() => {
    writeByteTokenizer(join(folder, 'bytes'))
    writeFileSync(join(folder, 'text.txt'), SENTENCE.repeat(60))
    writeFileSync(join(folder, 'records.jsonl'), `${JSON.stringify({ content: SENTENCE.repeat(40) })}\n{"content": 5}\n`)
    mkdirSync(join(folder, 'documents'))
    writeFileSync(join(folder, 'documents', 'validation.txt'), SENTENCE.repeat(20))
  })

  test('--check prints the whole configuration, what it comes to, and starts nothing', async () => {
    const { code, stdout } = await trainWith({ dtype: 'bf16', recompute: true }, '--check')
    expect(code).toBe(0)
    expect(stdout).toContain('3,048 parameters on reference')
    expect(stdout).toMatch(/3 steps of 48 tokens, 144 in all; the data has about 3,4\d\d/)
    expect(parse(stdout.slice(0, stdout.indexOf('\n\n')))).toMatchObject({
      dtype: 'bf16',
      optimizer: { beta2: 0.95 },
      out: join(folder, 'out'),
    })
    expect(existsSync(join(folder, 'out'))).toBe(false)
    const { parameters, memory } = JSON.parse((await runHere(['train', config, '--check', '--json'])).stdout)
    expect([parameters, memory > parameters * 18]).toEqual([3_048, true])
  })

  test('trains on a mixture, measures, and says where everything is', async () => {
    const { code, stdout, stderr } = await trainWith({
      data: {
        sources: [
          { path: 'text.txt', weight: 2 },
          { path: 'records.jsonl', weight: 1, textField: 'content' },
        ],
        tokens: 'tokens',
      },
      validation: { path: 'documents', every: 2, windows: 1 },
      phsa: { blockSize: 8, initTokens: 8, localTokens: 8 },
      recall: { every: 2, positions: 8 },
      ema: { decay: 0.5, export: true },
      checkpoint: { every: 2 },
      watching: { tensorboard: true },
      evaluation: { path: 'documents/validation.txt', topK: [1], windows: 1 },
    })
    expect({ code, stderr }).toMatchObject({ code: 0 })
    expect(stderr).toContain(
      '1 record is no document and was left out, the first in records.jsonl line 2: its field "content" is of type number',
    )
    for (const name of ['text', 'records']) expect(existsSync(join(folder, 'tokens', name, 'manifest.json'))).toBe(true)
    const out = join(folder, 'out')
    expect(stdout).toContain(`model in ${out}, with the averaged weights`)
    expect(stdout).toContain(`best checkpoint by validation: ${join(out, 'checkpoints', 'step-0000000')}`)
    for (const name of ['model.safetensors', 'report.html', 'tensorboard', 'config.yaml', 'evaluation.json', 'evaluation.html']) {
      expect(existsSync(join(out, name))).toBe(true)
      if (name !== 'model.safetensors' && name !== 'config.yaml') expect(stdout).toContain(join(out, name))
    }
    const steps = readFileSync(join(out, 'log.jsonl'), 'utf8').trim().split('\n')
    expect(steps.map((line) => 'recall' in JSON.parse(line))).toEqual([false, true, true])
  })

  test('what may not change refuses to resume, beside all other problems; what may is said', async () => {
    const refused = await trainWith({ out: 'out', seed: 5, batch: { tokens: 32, sequences: 1 }, policy: 'oracel' }, '--resume')
    expect(refused.code).toBe(2)
    const again = await trainWith({ out: 'out', seed: 5, batch: { tokens: 32, sequences: 1 } }, '--resume')
    expect(again.stderr).toContain('seed was 0 and is 5; a checkpoint goes on with the seed it was begun with')
    expect(again.stderr).toContain('batch.tokens was 48 and is 32')

    const longer = await trainWith({ out: 'short', run: { ...TINY.run, steps: 1 } })
    expect(longer.code).toBe(0)
    const resumed = await trainWith({ out: 'short', optimizer: { learningRate: 0.0005 } }, '--resume')
    expect(resumed).toMatchObject({ code: 0, stderr: expect.stringContaining('optimizer.learningRate was 0.001 and is 0.0005') })
    const own = await runHere(['train', join(folder, 'short', 'config.yaml'), '--resume'])
    expect(own.stdout).toContain('already trained to step 3')
  })

  test('all problems are listed before anything is started', async () => {
    const { code, stderr } = await trainWith(
      {
        out: 'never',
        dtype: 'f16',
        backend: 'tfjs-cpu',
        run: { shape: { heads: 3, kvHeads: 2 }, tokenizer: 'bytes', steps: 3, tokens: 9 },
        data: { sources: ['missing.txt', { path: 'records.jsonl', textField: 'nowhere' }] },
        optimizer: { decayShare: 0.5 },
        schedule: [{ kind: 'dense', share: 0.5 }],
        phsa: { blockSize: 16, localTokens: 24 },
        batch: { tokens: 48, sequences: 0 },
        checkpoint: { best: 'validation' },
        ema: { decay: 0.9, validate: true },
        evaluation: { needle: true, choices: [] },
      },
      '--policy',
      'oracle',
    )
    expect(code).toBe(2)
    for (const complaint of [
      'batch.sequences is 0',
      'run.steps and run.tokens both say',
      'run.shape.heads is 3; it must be a multiple of kvHeads',
      'optimizer.decayShare goes with decay wsd',
      'the shares of the stages sum to 0.5',
      'localTokens is 24; it must be a multiple of blockSize',
      `${join(folder, 'missing.txt')} does not exist`,
      'it has no field "nowhere", but content',
      'checkpoint.best is validation, but',
      'ema.validate measures validation with the averaged weights, but',
      'evaluation.needle and positions measure on a text',
      'dtype is f16',
    ]) {
      expect(stderr).toContain(complaint)
    }
    expect(existsSync(join(folder, 'never'))).toBe(false)
  })

  test('a policy that cannot work with the blocks is found before anything else is done', async () => {
    const { code, stderr } = await trainWith(
      { out: 'other', policy: 'infllm-v2', phsa: { blockSize: 8, initTokens: 8, localTokens: 8 } },
      '--check',
    )
    expect(code).toBe(2)
    expect(stderr).toMatch(/run\.yaml:\d+:3: blockSize is 8; infllm-v2 takes blocks of 16, 32 or 64/)
  })

  test('a model whose checkpoints the disk has no room for is found before anything else is done', async () => {
    const { code, stderr } = await trainWith({ out: 'large', run: { ...TINY.run, shape: { hiddenSize: 2 ** 17, layers: 500 } } }, '--check')
    expect(code).toBe(2)
    expect(stderr).toMatch(/run\.yaml:1:1: the disk of .*large has .* free, the checkpoints of this run take .* TiB/)
  })

  test.each([
    [['run.yaml', 'text.txt'], 'give it alone'],
    [['nowhere.yaml'], 'does not exist'],
  ])('%j is refused', async (files, complaint) => {
    const { code, stderr } = await runHere(['train', ...files.map((file) => join(folder, file))])
    expect([code, stderr]).toEqual([2, expect.stringContaining(complaint)])
  })

  test('the examples run: from scratch, then on from the model that this leaves', async () => {
    const scratch = join(folder, 'train-from-scratch')
    const continued = join(folder, 'continue-from-hugging-face')
    for (const example of [scratch, continued]) cpSync(join(examples, example.slice(folder.length + 1)), example, { recursive: true })
    const shorten = (example: string, changes: (run: ReturnType<typeof parse>) => object) => {
      const file = join(example, 'run.yaml')
      const whole = parse(readFileSync(file, 'utf8'))
      writeFileSync(file, stringify({ ...whole, backend: 'reference', batch: { tokens: 32, sequences: 1 }, ...changes(whole) }))
      return file
    }
    const first = shorten(scratch, (run) => ({
      run: { ...run.run, ...TINY.run, tokenizer: '../bytes' },
      data: { sources: ['../text.txt'] },
      validation: { ...run.validation, path: '../documents', windows: 1 },
      phsa: { ...run.phsa, localTokens: 16 },
    }))
    expect(await runHere(['train', first])).toMatchObject({ code: 0, stdout: expect.stringContaining('trained 3 steps') })

    cpSync(join(scratch, 'out'), join(continued, 'Qwen3-0.6B'), { recursive: true })
    cpSync(join(folder, 'documents'), join(continued, 'data', 'web'), { recursive: true })
    cpSync(join(folder, 'text.txt'), join(continued, 'data', 'web', 'train.txt'))
    cpSync(join(folder, 'records.jsonl'), join(continued, 'data', 'code.jsonl'))
    const second = shorten(continued, (run) => ({ run: { ...run.run, tokens: 64 }, phsa: { ...run.phsa, localTokens: 16 } }))
    expect(await runHere(['train', second])).toMatchObject({ code: 0, stdout: expect.stringContaining('trained 2 steps') })
  })
})

describe('a run that stops in its middle', () => {
  test.each([
    [new BackendLostError('the GPU fell off the bus.'), ExitCode.backendUnavailable],
    [new InvalidFileError('checkpoint x could not be written: the disk is full.'), ExitCode.stopped],
  ])('%s says how to go on', async (error, exitCode) => {
    const out = join(folder, `stopped-${exitCode}`)
    const before = describeError(await stoppedRun(error, out), false)
    expect(before).toEqual({ exitCode, text: expect.stringContaining('There is no checkpoint yet') })
    mkdirSync(join(out, 'checkpoints', 'step-00000500'), { recursive: true })
    writeFileSync(join(out, 'checkpoints', 'step-00000500', 'trainer.json'), '{}')
    const after = describeError(await stoppedRun(error, out), false)
    expect(after).toEqual({
      exitCode,
      text: expect.stringContaining('To go on after step 500, whose checkpoint is whole: the same command with --resume.'),
    })
    expect(after.text).toContain(error.message)
  })
})
