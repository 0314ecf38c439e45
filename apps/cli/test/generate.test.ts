import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { generationSettings } from '../src/generation/generation-settings.js'
import { copyAssets, runHere, runPhsa, temporaryFolder } from './run-phsa.js'

interface GenerateReport {
  readonly prompt: string
  readonly text: string
  readonly ids: readonly number[]
  readonly promptTokens: number
  readonly newTokens: number
  readonly seconds: number
  readonly stopReason: string
}

const NEW_MODEL =
  '--backend reference --steps 1 --sequence-tokens 48 --sequences 1 --hidden-size 8 --layers 1 --heads 2 --kv-heads 1 --head-dim 4 --local-tokens 16'

describe('phsa generate', () => {
  const folder = temporaryFolder()
  const model = join(folder, 'model')
  const generate = (...more: string[]) => ['generate', '--model', model, '--backend', 'reference', ...more]
  const reportOf = async (...more: string[]) => {
    const { code, stdout } = await runHere(generate('--json', ...more))
    expect(code).toBe(0)
    return JSON.parse(stdout) as GenerateReport
  }
  const drawn = ['--prompt', 'It is', '--temperature', '1.5', '--seed', '3', '--max-new-tokens', '12']

  beforeAll(async () => {
    copyAssets()
    const text = join(folder, 'text.txt')
    writeFileSync(text, 'It is a truth, universally acknowledged; or so she said. '.repeat(60))
    const { code } = await runHere(['train', text, '--out', model, ...NEW_MODEL.split(' ')])
    expect(code).toBe(0)
  })

  test('--json is one object with the text that is otherwise printed, its ids and why it ended', async () => {
    const [printed, report] = [await runHere(generate(...drawn)), await reportOf(...drawn)]
    expect(printed.stdout).toBe(`It is${report.text}\n`)
    expect(report).toMatchObject({ prompt: 'It is', newTokens: 12, stopReason: 'length' })
    expect(report.ids).toHaveLength(12)
    expect(report.promptTokens).toBeGreaterThan(0)
    expect(report.seconds).toBeGreaterThan(0)
  })

  test('a model in bf16, and a type that the backend does not have', async () => {
    expect((await reportOf(...drawn, '--dtype', 'bf16')).newTokens).toBe(12)
    const { code, stderr } = await runHere(['generate', '--model', model, '--backend', 'tfjs-cpu', '--dtype', 'bf16', '--prompt', 'p'])
    expect(code).toBe(2)
    expect(stderr).toContain('dtype is bf16')
  })

  test('a stop text ends the printed text and the reported one at the same place', async () => {
    const { text } = await reportOf(...drawn)
    const stop = ['--stop', text.slice(5, 8), '--stop', text.slice(4, 6)]
    const [printed, report] = [await runHere(generate(...drawn, ...stop)), await reportOf(...drawn, ...stop)]
    expect(report.stopReason).toBe('stop-text')
    expect(report.text.length).toBeLessThan(text.length)
    expect(printed.stdout).toBe(`It is${report.text}\n`)
  })

  test('the prompt may come from stdin and from a file, without the line break at its end', async () => {
    const file = join(folder, 'prompt.txt')
    writeFileSync(file, 'It is\n')
    const short = ['--max-new-tokens', '2']
    const [typed, fromFile, piped] = [
      await runHere(generate('--prompt', 'It is', ...short)),
      await runHere(generate('--prompt-file', file, ...short)),
      await runPhsa(generate('--prompt', '-', ...short), { input: 'It is\n' }),
    ]
    expect(typed.code).toBe(0)
    expect(fromFile.stdout).toBe(typed.stdout)
    expect(piped.stdout).toBe(typed.stdout)
  })

  test('--chat puts the messages through the chat template and prints the answer alone', async () => {
    const chat = ['--chat', '--system', 'Be brief.', '--prompt', 'Who is Emma?', '--max-new-tokens', '3']
    const [printed, report] = [await runHere(generate(...chat)), await reportOf(...chat)]
    expect(report.prompt).toBe('<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho is Emma?<|im_end|>\n<|im_start|>assistant\n')
    expect(printed.stdout).toBe(`${report.text}\n`)
  })

  test('the folder says how to generate where the command line does not', async () => {
    const other = join(folder, 'other')
    cpSync(model, other, { recursive: true })
    const settings = { max_new_tokens: 3, do_sample: true, temperature: 1.5, top_k: 0, num_beams: 4 }
    writeFileSync(join(other, 'generation_config.json'), JSON.stringify(settings))
    const [folders, own] = [
      await runHere(generate('--model', other, '--prompt', 'It is', '--seed', '3', '--json')),
      await runHere(generate('--model', other, '--prompt', 'It is', '--temperature', '0', '--max-new-tokens', '4', '--json')),
    ]
    const [sampled, greedy] = [folders, own].map(({ stdout }) => JSON.parse(stdout) as GenerateReport)
    expect(sampled.newTokens).toBe(3)
    expect(greedy.newTokens).toBe(4)
    expect(greedy.ids.slice(0, 3)).not.toEqual(sampled.ids)
    expect(folders.stderr).toContain('num_beams')
  })

  test('an empty stdin is bad usage', async () => {
    const { code, stderr } = await runPhsa(generate('--prompt', '-'))
    expect(code).toBe(2)
    expect(stderr).toContain('stdin, which is empty')
  })

  test('what cannot be generated prints nothing', async () => {
    const { code, stdout, stderr } = await runHere(generate('--prompt', 'It is', '--max-new-tokens', '99999'))
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).toContain('99999 more were asked for')
  })

  test.each([
    [[], 'there is no prompt'],
    [['--prompt', 'a', '--prompt-file', 'b'], 'cannot be used with'],
    [['--prompt', 'a', '--system', 'b'], '--chat'],
    [['--prompt', 'a', '--repetition-penalty', '0'], 'from 0.01'],
  ])('%j is bad usage', async (args, complaint) => {
    const { code, stderr } = await runHere(generate(...args))
    expect(code).toBe(2)
    expect(stderr).toContain(complaint)
  })
})

describe('what decides how tokens are drawn', () => {
  test.each([
    ['nothing takes the likeliest', {}, {}, { temperature: 0 }],
    ['a penalty alone takes the likeliest', { repetitionPenalty: 1.2 }, {}, { temperature: 0, repetitionPenalty: 1.2 }],
    ['an option of drawing draws', { topP: 0.9 }, {}, { temperature: 1, topP: 0.9 }],
    ['the folder, where the command line is silent', {}, { temperature: 0.6, topK: 20 }, { temperature: 0.6, topK: 20 }],
    ['the command line before the folder', { sampleTopK: 5 }, { temperature: 0.6, topK: 20 }, { temperature: 0.6, topK: 5 }],
    [
      'drawing is asked for where the folder does not',
      { minP: 0.1 },
      { temperature: 0, repetitionPenalty: 1.1 },
      { temperature: 1, minP: 0.1, repetitionPenalty: 1.1 },
    ],
    ['a temperature of 0 stays', { temperature: 0, topP: 0.9 }, { temperature: 0.6 }, { temperature: 0, topP: 0.9 }],
  ])('%s', (_, choice, sampling, expected) => {
    expect(generationSettings(choice, Object.keys(sampling).length > 0 ? { sampling } : {}, 100).sampling).toEqual(expected)
  })

  test('the folder’s length gives way to the prompt, the command line’s does not', () => {
    expect(generationSettings({}, { maxNewTokens: 32_768 }, 100).maxNewTokens).toBe(100)
    expect(generationSettings({}, {}, 100).maxNewTokens).toBe(64)
    expect(generationSettings({ maxNewTokens: 500 }, { maxNewTokens: 10 }, 100).maxNewTokens).toBe(500)
  })
})
