import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseHTML } from 'linkedom'
import { beforeAll, describe, expect, test } from 'vitest'
import type { DemoResults } from '../src/report/demo-results.js'
import { demoText } from '../src/report/demo-text.js'
import { copyAssets, type PhsaRun, runPhsa, temporaryFolder } from './run-phsa.js'

describe('phsa demo', () => {
  const out = join(temporaryFolder(), 'demo')
  let run: PhsaRun
  beforeAll(async () => {
    copyAssets()
    run = await runPhsa(['demo', '--steps', '5', '--backend', 'tfjs-wasm', '--out', out, '--json'])
  }, 300_000)

  test('ends well, with the results as JSON and nothing else on stdout', () => {
    expect(run.stderr).toContain('training: 5/5')
    expect(run.code).toBe(0)
    expect(JSON.parse(run.stdout)).toEqual(resultsOf(out))
  })

  test('the results as text have a line a budget, the verdict and the caveat', () => {
    const text = demoText(resultsOf(out))
    for (const line of ['topK 1 ', 'topK 16 ', 'dense ', 'PHSA with lambda 0.5', 'nothing for or against']) expect(text).toContain(line)
    expect(text).not.toMatch(/NaN|undefined/)
  })

  test('both stages ran, the last one with distillation', () => {
    const points = resultsOf(out).training.points
    expect(points.map(({ sparse }) => sparse)).toEqual([false, false, false, false, true])
    expect(points[4].distillationLoss).toBeGreaterThan(0)
    expect(points[4].loss).toBeLessThan(points[0].loss)
  })

  test('every policy is measured at every budget, and more budget sees more', () => {
    const { comparison } = resultsOf(out)
    for (const policy of ['phsa', 'mean-pool', 'infllm-v2']) {
      const recalls = comparison.filter((row) => row.policy === policy).map(({ recall }) => recall)
      expect(recalls).toHaveLength(5)
      expect(recalls).toEqual([...recalls].sort((left, right) => left - right))
    }
  })

  test('the report is one page with its drawings in it, and the caveat', () => {
    const markup = readFileSync(join(out, 'report.html'), 'utf8')
    const { document } = parseHTML(markup)
    expect(document.querySelectorAll('figure svg').length).toBeGreaterThanOrEqual(6)
    expect(document.querySelectorAll('script, link, img, iframe')).toHaveLength(0)
    expect(document.querySelector('.note')?.textContent).toContain('nothing for or against')
    expect(markup).not.toMatch(/NaN|undefined/)
  })

  test('the model can be used', async () => {
    expect(existsSync(join(out, 'model/tokenizer.json'))).toBe(true)
    const { code } = await runPhsa(['generate', '--model', join(out, 'model'), '--prompt', 'It is a truth', '--max-new-tokens', '2'])
    expect(code).toBe(0)
  })
})

function resultsOf(out: string): DemoResults {
  return JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')) as DemoResults
}
