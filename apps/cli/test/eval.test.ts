import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { EvalReport } from '../src/evaluation/eval-report.js'
import { copyAssets, runHere, runPhsa, temporaryFolder } from './run-phsa.js'

const NEW_MODEL =
  '--backend reference --steps 1 --sequence-tokens 48 --sequences 1 --hidden-size 8 --layers 1 --heads 2 --kv-heads 1 --head-dim 4 --block-size 8 --init-tokens 8 --local-tokens 16'

describe('phsa eval', () => {
  const folder = temporaryFolder()
  const text = join(folder, 'text.txt')
  const model = join(folder, 'model')
  const choices = join(folder, 'choices.jsonl')
  const evaluate = (...more: string[]) => [
    'eval',
    text,
    '--model',
    model,
    '--backend',
    'reference',
    '--windows',
    '2',
    '--tokens',
    '96',
    ...more,
  ]
  beforeAll(async () => {
    copyAssets()
    writeFileSync(text, 'It is a truth, universally acknowledged; or so she said. '.repeat(60))
    const record = (context: string) => JSON.stringify({ context, choices: ['truth', 'she said'], gold: 0 })
    writeFileSync(choices, [record('It is a'), '{"query": "It"}', record('or so')].join('\n'))
    const { code } = await runHere(['train', text, '--out', model, ...NEW_MODEL.split(' ')])
    expect(code).toBe(0)
  })

  test('measures policies and budgets, and needles by length and depth, and writes what it prints', async () => {
    const out = join(folder, 'made/result.json')
    const html = join(folder, 'made/result.html')
    const { code, stdout, stderr } = await runHere(
      evaluate(
        '--policies',
        'phsa,oracle',
        '--top-k',
        '1,2',
        '--needle-lengths',
        '64,96',
        '--depths',
        '0,1',
        '--trials',
        '2',
        '--positions',
        '--choices',
        choices,
        '--html',
        html,
        '--out',
        out,
        '--json',
      ),
    )
    expect(stderr).toContain(`${choices}:2: left out: choices must be`)
    expect(stderr).toMatch(/evaluating: (\d+)\/\1/)
    expect(stderr).toMatch(/needles: (\d+)\/\1/)
    expect(code).toBe(0)
    const report = JSON.parse(stdout) as EvalReport
    expect(JSON.parse(readFileSync(out, 'utf8'))).toEqual(report)
    expect(report.phsa).toMatchObject({ blockSize: 8, localTokens: 16 })
    const variants = report.selections.map(({ policy, topK }) => `${policy} ${topK}`)
    expect(variants).toEqual(['dense dense', 'phsa 1', 'phsa 2', 'oracle 1', 'oracle 2'])
    expect(report.selections[0].recall).toBeCloseTo(1)
    expect(report.selections.find(({ policy, topK }) => policy === 'oracle' && topK === 2)?.selectionRecall).toBe(1)
    for (const { perplexity } of report.selections) expect(perplexity).toBeGreaterThan(1)
    expect(report.retrieval?.map(({ policy, topK }) => `${policy} ${topK}`)).toEqual(variants)
    for (const { cells, overall } of report.retrieval ?? []) {
      expect(cells.map(({ length, depth }) => `${length} ${depth}`)).toEqual(['64 0', '64 1', '96 0', '96 1'])
      expect(overall.trials).toBe(8)
    }
    for (const { recallByHead } of report.selections) expect(recallByHead.map(({ length }) => length)).toEqual([1])
    expect(report.positions?.map(({ buckets }) => buckets.map(({ from }) => from))).toEqual(variants.map(() => [0, 64]))
    expect(report.choices).toMatchObject([{ file: choices, records: 2, requests: 4, faults: [{ line: 2 }] }])
    const page = readFileSync(html, 'utf8')
    for (const heading of ['Recall by layer and head', 'Needle in a haystack', 'Perplexity by position', 'Multiple choice']) {
      expect(page).toContain(`<h2>${heading}</h2>`)
    }
  })

  test('a table has a line a policy and budget, and a line a layer', async () => {
    const { code, stdout } = await runHere(evaluate('--policies', 'mean-pool', '--top-k', '1', '--heads'))
    expect(code).toBe(0)
    expect(stdout).toContain('2 windows of 96 tokens')
    expect(stdout).toMatch(/^dense .*100\.0 %/m)
    expect(stdout).toMatch(/^mean-pool topK 1 /m)
    expect(stdout).toMatch(/mass recall of mean-pool topK 1 by layer and KV head, \d+ queries each/)
    expect(stdout).not.toContain('needles')
  })

  test('an interruption leaves no file', async () => {
    const out = join(folder, 'interrupted.json')
    const { code } = await runPhsa(evaluate('--windows', '4', '--policies', 'phsa', '--top-k', '1', '--out', out), {
      signalAt: 'evaluating: 1/',
    })
    expect(code).toBe(130)
    expect(existsSync(out)).toBe(false)
  })

  test('a text that is shorter than its windows is refused with what is needed', async () => {
    const { code, stderr } = await runHere(evaluate('--windows', '1000'))
    expect(code).toBe(2)
    expect(stderr).toMatch(/1000 windows of 96 need 96000/)
  })

  test('nothing to measure on is bad usage', async () => {
    const { code, stderr } = await runHere(['eval', '--model', model])
    expect(code).toBe(2)
    expect(stderr).toContain('give text files, or --choices FILE')
  })

  test('an unknown policy is bad usage that lists the known ones', async () => {
    const { code, stderr } = await runHere(evaluate('--policies', 'phsa,best'))
    expect(code).toBe(2)
    expect(stderr).toContain('infllm-v2')
  })
})
