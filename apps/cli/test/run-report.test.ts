import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseHTML } from 'linkedom'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { runFigures } from '../src/report/run/run-figures.js'
import { runReport } from '../src/report/run/run-report.js'
import { type LoggedStep, readSteps } from '../src/report/run/run-steps.js'
import { thinOut } from '../src/report/run/thin-out.js'
import { writeRunReport } from '../src/report/run/write-run-report.js'
import { runHere } from './run-phsa.js'

/** A run of so many steps, the last fifth of them sparse. */
function stepsOf(count: number, change: (step: LoggedStep) => Partial<LoggedStep> = () => ({})): LoggedStep[] {
  return Array.from({ length: count }, (_, index) => {
    const step = index + 1
    const isSparse = step > count * 0.8
    const logged: LoggedStep = {
      step,
      tokens: step * 1024,
      loss: 2 + 8 / Math.sqrt(step) + Math.sin(step * 12.9898) * 0.1,
      ...(isSparse ? { distillationLoss: 1 } : {}),
      gradientNorm: 1,
      learningRate: 0.001,
      stage: isSparse ? 1 : 0,
      topK: isSparse ? 2 : 'dense',
      tokensPerSecond: 10_240,
      skipped: false,
    }
    return { ...logged, ...change(logged) }
  })
}

const documentOf = (page: string) => parseHTML(page).document
const titlesOf = (page: string) => Array.from(documentOf(page).querySelectorAll('figure strong'), ({ textContent }) => textContent)

describe('thinOut', () => {
  const points = Array.from({ length: 100_000 }, (_, index) => ({ step: index + 1, value: Math.sin(index) }))

  test('keeps every peak, the order and the ends of what it is given', () => {
    const thin = thinOut(points.with(54_321, { step: 54_322, value: 9 }).with(77, { step: 78, value: -9 }), 100)
    expect(thin.length).toBeLessThanOrEqual(200)
    expect(thin.filter(({ value }) => Math.abs(value) === 9).map(({ step }) => step)).toEqual([78, 54_322])
    expect(thin.map(({ step }) => step)).toEqual(thin.map(({ step }) => step).toSorted((left, right) => left - right))
  })

  test('leaves short curves as they are, less what is not finite', () => {
    expect(thinOut([points[0], { step: 2, value: Number.NaN }, points[2]])).toEqual([points[0], points[2]])
  })
})

describe('the page of a run', () => {
  test('of 100,000 steps is small, needs nothing besides itself and has every spike and skip marked', () => {
    const steps = stepsOf(100_000, ({ step }) => ({
      ...(step % 500 === 0 ? { validation: { loss: 3, perplexity: 20 } } : {}),
      ...(step === 40_000 ? { loss: Number.NaN, gradientNorm: Number.NaN, skipped: true } : {}),
      ...(step === 60_001 ? { loss: 9, spike: { loss: 9, expected: 2.1 } } : {}),
    }))
    const page = runReport('a <run>', steps, 'seed: 1\nname: "<b>"')
    expect(page.length).toBeLessThan(300_000)
    expect(page).not.toMatch(/<script|https?:\/\/(?!www\.w3\.org)|url\(/)
    expect(page).not.toMatch(/NaN|undefined|Infinity/)
    const { body } = documentOf(page)
    expect(body.querySelector('h1')?.textContent).toBe('Training of a <run>')
    expect(body.querySelector('pre')?.textContent).toContain('name: "<b>"')
    expect(body.querySelectorAll('g[aria-label="tick"] line')).toHaveLength(2)
    const rows = Array.from(body.querySelectorAll('table'), (table) =>
      Array.from(table.querySelectorAll('tbody tr'), (row) => row.textContent),
    )
    expect(rows[1]).toEqual(['40,000skipped: gradients were not finitenot finite', '60,001loss spike9.00002.1000'])
    for (const drawing of Array.from(body.querySelectorAll('figure svg')))
      expect(drawing.getAttribute('aria-label')).toMatch(/ by training step$/)
  })

  test('draws what was measured and leaves out the rest', () => {
    expect(
      titlesOf(
        runReport(
          'run',
          stepsOf(10, () => ({ topK: 'dense', distillationLoss: undefined })),
        ),
      ),
    ).toEqual(['Training loss', 'Learning rate', 'Gradient norm', 'Throughput'])
    const all = stepsOf(10, ({ step }) => ({
      mfu: 0.4,
      lambda: { mean: 0.5, min: 0.1, max: 0.9 },
      ...(step === 10 ? { recall: { mean: 0.9, layers: [0.9], topK: 2, queries: 4 }, validation: { loss: 1, perplexity: Math.E } } : {}),
    }))
    expect(titlesOf(runReport('run', all))).toEqual([
      'Training loss',
      'Validation loss',
      'Attention-mass recall',
      'Block distillation loss',
      'Learned lambda',
      'Schedule',
      'Learning rate',
      'Gradient norm',
      'Throughput',
      'Model FLOP utilisation',
    ])
  })

  test('a run that never had finite numbers is a page too, and one that skips all the time a small one', () => {
    const broken = runReport(
      'run',
      stepsOf(20, () => ({ loss: Number.NaN, gradientNorm: Number.NaN, distillationLoss: Number.NaN, skipped: true })),
    )
    expect(broken).not.toMatch(/NaN|Infinity/)
    expect(titlesOf(broken)).toEqual(['Schedule', 'Learning rate', 'Throughput'])
    expect(
      runReport(
        'run',
        stepsOf(20_000, ({ step }) => ({ skipped: step % 2 === 0 })),
      ).length,
    ).toBeLessThan(300_000)
  })

  test('one step is enough', () => {
    expect(titlesOf(runReport('run', stepsOf(1)))).toContain('Training loss')
  })
})

test('the figures of a run that was resumed count the time of its own steps', () => {
  const figures = new Map(runFigures(stepsOf(40).slice(20)))
  expect(figures.get('steps in the log')).toBe('20')
  expect(figures.get('tokens')).toBe('40,960')
  expect(figures.get('time in steps')).toBe('2s')
  expect(figures.get('topK, last')).toBe('2')
})

describe('a log on disk', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'phsa-report-'))
  })
  afterEach(() => rm(folder, { recursive: true }))
  const log = async (text: string) => {
    const path = join(folder, 'log.jsonl')
    await writeFile(path, text)
    return path
  }
  const lines = (count: number) =>
    stepsOf(count)
      .map((step) => `${JSON.stringify(step)}\n`)
      .join('')

  test('of a killed run is drawn up to its last whole line, with the configuration that lies beside it', async () => {
    const path = await log(`${lines(3)}{"step":4,"tok`)
    await writeFile(join(folder, 'config.yaml'), 'seed: 7\n')
    expect(await writeRunReport(path, join(folder, 'page.html'))).toEqual({ steps: 3 })
    const page = await readFile(join(folder, 'page.html'), 'utf8')
    expect(page).toContain(`Training of ${basename(folder)}`)
    expect(page).toContain('seed: 7')
  })

  test('is drawn by phsa report, which takes the folder or the log', async () => {
    const path = await log(lines(5))
    const page = join(folder, 'report.html')
    expect(await runHere(['report', folder])).toMatchObject({ code: 0, stdout: `${page}: through step 5\n` })
    const other = join(folder, 'pages', 'run.html')
    const { stdout } = await runHere(['report', path, '--out', other, '--json'])
    expect(JSON.parse(stdout)).toEqual({ report: other, step: 5 })
    expect(await readFile(other, 'utf8')).toBe(await readFile(page, 'utf8'))
    expect(await runHere(['report', join(folder, 'pages')])).toMatchObject({ code: 2, stderr: expect.stringContaining('cannot be read') })
  })

  test('has null where a number was not finite', async () => {
    const [step] = await readSteps(await log(lines(1).replace(/"loss":[\d.]+/, '"loss":null')))
    expect(step.loss).toBeNaN()
    const [first, second] = stepsOf(2)
    const measured = [
      { ...first, validation: { loss: 2, perplexity: Math.exp(2) }, recall: { mean: 0.5, layers: [0.5], topK: 2, queries: 4 } },
      // As the log has them that overflowed.
      { ...second, validation: { loss: null, perplexity: null }, recall: { mean: null, layers: [null], topK: 2, queries: 4 } },
    ]
    const path = await log(measured.map((step) => `${JSON.stringify(step)}\n`).join(''))
    const figures = new Map(runFigures(await readSteps(path)))
    expect(figures.get('validation perplexity, last')).toBe('not finite')
    expect(figures.get('validation perplexity, best')).toBe('7.389 after step 1')
    expect(figures.get('attention-mass recall, last')).toBe('50.0 % at topK 2')
    await writeRunReport(path, join(folder, 'page.html'))
    expect(await readFile(join(folder, 'page.html'), 'utf8')).not.toMatch(/NaN|Infinity/)
  })

  test('that is none is refused with the line, or with what is missing', async () => {
    await expect(readSteps(await log(`${lines(1)}nonsense\n${lines(1)}`))).rejects.toThrow('line 2 is no step')
    await expect(readSteps(await log(''))).rejects.toThrow('no step yet')
    await expect(readSteps(join(folder, 'missing.jsonl'))).rejects.toThrow('cannot be read')
  })
})
