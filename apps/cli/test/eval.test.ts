import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { EvalReport } from '../src/commands/eval.js'
import { copyAssets, refusal, runPhsa, temporaryFolder } from './run-phsa.js'

const NEW_MODEL =
  '--backend reference --steps 1 --sequence-tokens 48 --sequences 1 --hidden-size 8 --layers 1 --heads 2 --kv-heads 1 --head-dim 4 --block-size 8 --init-tokens 8 --local-tokens 16'

describe('phsa eval', () => {
  const folder = temporaryFolder()
  const text = join(folder, 'text.txt')
  const model = join(folder, 'model')
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
    const { code } = await runPhsa(['train', text, '--out', model, ...NEW_MODEL.split(' ')])
    expect(code).toBe(0)
  })

  test('measures policies and budgets, and needles by length and depth, and writes what it prints', async () => {
    const out = join(folder, 'made/result.json')
    const { code, stdout, stderr } = await runPhsa(
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
        '--out',
        out,
        '--json',
      ),
    )
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
  })

  test('a table has a line a policy and budget', async () => {
    const { code, stdout } = await runPhsa(evaluate('--policies', 'mean-pool', '--top-k', '1'))
    expect(code).toBe(0)
    expect(stdout).toContain('2 windows of 96 tokens')
    expect(stdout).toMatch(/^dense .*100\.0 %/m)
    expect(stdout).toMatch(/^mean-pool topK 1 /m)
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
    const { code, stderr } = await runPhsa(evaluate('--windows', '1000'))
    expect(code).toBe(2)
    expect(stderr).toMatch(/1000 windows of 96 need 96000/)
  })

  test('an unknown policy is bad usage that lists the known ones', async () => {
    const { code, stderr } = await refusal(evaluate('--policies', 'phsa,best'))
    expect(code).toBe(2)
    expect(stderr).toContain('infllm-v2')
  })
})
