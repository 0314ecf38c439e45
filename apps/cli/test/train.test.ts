import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { writeByteTokenizer } from './byte-tokenizer.js'
import { runHere, runPhsa, temporaryFolder } from './run-phsa.js'

const TINY =
  '--backend reference --sequence-tokens 48 --sequences 1 --hidden-size 8 --layers 1 --heads 2 --kv-heads 1 --head-dim 4 --local-tokens 16'
const folder = temporaryFolder()
const bytes = writeByteTokenizer(join(folder, 'bytes'))
const text = join(folder, 'text.txt')
const stopped = join(folder, 'stopped')
const finished = join(folder, 'finished')

function train(out: string, steps: number, ...more: string[]): string[] {
  return ['train', text, '--out', out, '--steps', String(steps), '--tokenizer', bytes, ...TINY.split(' '), ...more]
}

function logOf(out: string): { step: number; loss: number }[] {
  return readFileSync(join(out, 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { step: number; loss: number })
}

describe('phsa train', () => {
  beforeAll(async () => {
    writeFileSync(text, 'It is a truth, universally acknowledged; or so she said. '.repeat(60))
  })

  test('writes a model, its checkpoint and a log, in plain lines without a terminal', async () => {
    const { code, stdout, stderr } = await runPhsa(train(finished, 4))
    expect(code).toBe(0)
    expect(stdout).toContain('trained 4 steps')
    expect(stderr).toMatch(/training: 4\/4/)
    // Neither escape sequences nor carriage returns.
    for (const control of ['\u001b', '\r']) expect(`${stdout}${stderr}`).not.toContain(control)
    for (const name of ['config.json', 'model.safetensors', 'tokenizer.json', 'report.html'])
      expect(existsSync(join(finished, name))).toBe(true)
    expect(logOf(finished).map(({ step }) => step)).toEqual([1, 2, 3, 4])
  })

  test('SIGINT leaves a checkpoint that --resume continues to the same end', async () => {
    // Far more steps than are done before the signal arrives, however busy the machine is.
    const interrupted = await runPhsa(train(stopped, 100_000), { signalAt: 'training: 1/100000' })
    expect(interrupted.code).toBe(130)
    expect(interrupted.stdout).toContain('--resume')
    const [checkpoint] = readdirSync(join(stopped, 'checkpoints'))
    expect(checkpoint).toMatch(/^step-\d+$/)
    const end = Number(checkpoint.slice(5)) + 3

    const resumed = await runHere(train(stopped, end, '--resume'))
    expect(resumed.code).toBe(0)
    expect(resumed.stderr).toContain('run.steps was 100000 and is')
    expect(logOf(stopped).map(({ step }) => step)).toEqual(Array.from({ length: end }, (_, index) => index + 1))
  })

  test.skipIf(process.platform === 'win32')(
    'a disk that fills up leaves whole checkpoints, a way to go on, and a code of its own (not on Windows, which has no ulimit)',
    async () => {
      const full = join(folder, 'full')
      const stopped = await runPhsa(train(full, 100_000, '--checkpoint-every', '20'), { largestFile: 42 })
      expect(stopped.code).toBe(4)
      expect(stopped.stderr).toContain('is the disk full?')
      expect(stopped.stderr).toContain('whose checkpoint is whole: the same command with --resume.')
      expect(existsSync(join(full, 'model.safetensors'))).toBe(false)
      const end = Number(readdirSync(join(full, 'checkpoints')).sort().at(-1)!.slice(5)) + 2
      expect(await runHere(train(full, end, '--resume'))).toMatchObject({ code: 0 })
      expect(logOf(full)).toHaveLength(end)
    },
  )

  test('a second run into the same folder is refused with a way out', async () => {
    const { code, stderr } = await runHere(train(finished, 4))
    expect(code).toBe(2)
    expect(stderr).toContain('resume')
  })

  test('--json prints a line a step with the validation, and one at the end', async () => {
    const { code, stdout, stderr } = await runHere(
      train(
        join(folder, 'reported'),
        4,
        '--accumulate',
        '2',
        '--decay',
        'wsd',
        '--decay-share',
        '0.5',
        '--warmup-steps',
        '1',
        '--json',
      ).concat(['--validation', text, '--validation-every', '2', '--validation-windows', '1']),
    )
    expect(code).toBe(0)
    expect(stderr).toMatch(/training: 4\/4/)
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; tokens: number; learningRate: number; validation?: { perplexity: number } })
    expect(lines.map(({ type }) => type)).toEqual(['step', 'step', 'step', 'step', 'end'])
    expect(lines[4]).toMatchObject({ interrupted: false, step: 4, steps: 4, model: join(folder, 'reported') })
    expect(lines[0].tokens).toBe(2 * 48)
    expect(lines.map(({ validation }) => validation !== undefined)).toEqual([false, true, false, true, false])
    expect(lines[3].learningRate).toBeLessThan(lines[1].learningRate)
  })

  test('the log of a run that was killed before its first checkpoint needs --resume-or-start', async () => {
    const killed = join(folder, 'killed')
    mkdirSync(killed)
    writeFileSync(join(killed, 'log.jsonl'), '{"step":1,"loss":9}\n')
    const refused = await runHere(train(killed, 2))
    expect(refused.code).toBe(2)
    expect(refused.stderr).toContain('--resume-or-start')

    const started = await runHere(train(killed, 2, '--resume-or-start'))
    expect(started.code).toBe(0)
    expect(logOf(killed).map(({ step }) => step)).toEqual([1, 2])
    const again = await runHere(train(killed, 2, '--resume-or-start'))
    expect(again.stdout).toContain('already trained to step 2')
  })

  test.each([
    [['--validation-every', '5'], '--validation'],
    [['--decay-share', '0.5'], 'decay wsd'],
    [['--resume', '--resume-or-start'], 'cannot be used with'],
  ])('%j is bad usage', async (args, complaint) => {
    const { code, stderr } = await runHere(train(join(folder, 'unused'), 2, ...args))
    expect(code).toBe(2)
    expect(stderr).toContain(complaint)
  })

  test('resuming a finished run says so', async () => {
    const steps = logOf(finished).length
    const { code, stdout } = await runHere(train(finished, steps, '--resume'))
    expect(code).toBe(0)
    expect(stdout).toContain(`already trained to step ${steps}`)
  })

  test('the shape of a new model does not go with a model folder', async () => {
    const { code, stderr } = await runHere(['train', text, '--model', finished, '--layers', '2'])
    expect(code).toBe(2)
    expect(stderr).toContain("'--layers <n>' cannot be used with option '--model <dir>'")
  })

  test('generate continues a prompt with the trained model, sparsely and densely', async () => {
    const common = ['generate', '--model', finished, '--prompt', 'It is', '--max-new-tokens', '3', '--backend', 'reference']
    const [sparse, dense] = [await runHere([...common, '--top-k', '1']), await runHere([...common, '--dense'])]
    for (const { code, stdout } of [sparse, dense]) {
      expect(code).toBe(0)
      expect(stdout.startsWith('It is')).toBe(true)
      expect(stdout.length).toBeGreaterThan('It is\n'.length)
    }
  })

  test('generate samples the same text from the same seed, and stops before a stop text', async () => {
    const common = ['generate', '--model', finished, '--prompt', 'It is', '--max-new-tokens', '12', '--backend', 'reference']
    const sampled = [...common, '--temperature', '1.5', '--sample-top-k', '500', '--top-p', '0.99', '--min-p', '0.0001', '--seed']
    const greedy = await runHere(common)
    const cold = await runHere([...common, '--temperature', '0'])
    const [first, again, other] = [await runHere([...sampled, '3']), await runHere([...sampled, '3']), await runHere([...sampled, '4'])]
    expect(first).toMatchObject({ code: 0, stderr: '' })
    expect(again.stdout).toBe(first.stdout)
    expect(other.stdout).not.toBe(first.stdout)
    expect(first.stdout).not.toBe(greedy.stdout)
    expect(cold.stdout).toBe(greedy.stdout)

    const written = first.stdout.slice('It is'.length, -1)
    const stop = written.slice(4, 7)
    const stopped = await runHere([...sampled, '3', '--stop', 'never written', '--stop', stop])
    expect(stopped.stdout).toBe(`It is${written.slice(0, written.indexOf(stop))}\n`)
  })

  test('inspect with the trained model names the layer and what is selected', async () => {
    const { code, stdout } = await runHere([
      'inspect',
      text,
      '--model',
      finished,
      '--backend',
      'reference',
      '--max-tokens',
      '120',
      '--top-k',
      '1',
    ])
    expect(code).toBe(0)
    expect(stdout).toContain('layer 0, KV head 0')
    expect(stdout).toContain('selected by phsa')
    expect(stdout).toContain('dense mass')
  })
})
