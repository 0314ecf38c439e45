import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { BenchReport } from '../src/bench/bench-report.js'
import { sourceCommit } from '../src/bench/source-commit.js'
import { copyAssets, runHere, runPhsa, temporaryFolder } from './run-phsa.js'

const SMALL = '--seconds 0 --matmul 16 --length 200 --heads 2 --kv-heads 1 --head-dim 8 --top-k 1'.split(' ')

describe('phsa bench', () => {
  const folder = temporaryFolder()
  beforeAll(copyAssets)

  test('prints what it writes: machine, load, every run and what the figure was checked against', async () => {
    const out = join(folder, 'result.json')
    const { code, stdout, stderr } = await runPhsa(
      ['bench', '--backend', 'reference', '--only', 'matmul,attention', ...SMALL, '--out', out, '--json'],
      { cwd: folder },
    )
    expect(code).toBe(0)
    expect(stderr).toContain('comparing with the reference')
    const report = JSON.parse(stdout) as BenchReport
    expect(JSON.parse(readFileSync(out, 'utf8'))).toEqual(report)
    expect(report).toMatchObject({
      format: 'phsa-bench/1',
      machine: { node: process.versions.node },
      loadAverage: { before: expect.any(Array), after: expect.any(Array) },
      backends: [{ name: 'reference', available: true, device: 'host, float64' }],
      leftOut: [],
    })
    // Of the program's sources, wherever it is started.
    expect(report.commit?.hash).toBe((await sourceCommit())?.hash)
    const [backend] = report.backends
    if (!backend.available) throw new Error(backend.reason)
    expect(backend.results.map(({ case: title }) => title)).toEqual(['matmul 16', 'attention 200 topK 1', 'attention 200 dense'])
    for (const { outcome, gate, shape, measurements } of backend.results) {
      expect(outcome).toBe('measured')
      expect(gate?.checks).toBeGreaterThan(0)
      expect(Object.keys(shape)).toContain('dtype')
      for (const { timing } of measurements) expect(timing.samples).toHaveLength(3)
    }
    expect(readdirSync(folder)).toEqual(['result.json'])
  })

  test('a table puts backends side by side, says why one is missing, and a folder gets a file named after the machine', async () => {
    const results = join(folder, 'results')
    mkdirSync(results)
    const { code, stdout } = await runPhsa(['bench', '--only', 'matmul', ...SMALL, '--out', results])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^ .*tfjs-wasm .*tfjs-cpu/m)
    expect(stdout).toMatch(/matmul 16 forward, GFLOP\/s .*\d/)
    expect(stdout).toContain('reference: left out: slow by design')
    const [file] = readdirSync(results)
    expect(file).toMatch(/-cores\.json$/)
    const { backends } = JSON.parse(readFileSync(join(results, file), 'utf8')) as BenchReport
    for (const backend of backends) if (!backend.available) expect(stdout).toContain(`${backend.name}: not available: `)
  })

  test('a program that lies in no checkout of ours has no commit', async () => {
    expect(await sourceCommit(temporaryFolder())).toBeUndefined()
  })

  test('an interruption leaves no file', async () => {
    const out = join(folder, 'interrupted.json')
    const { code, stderr } = await runPhsa(
      ['bench', '--backend', 'reference', '--only', 'matmul', '--matmul', '200', '--seconds', '600', '--out', out],
      {
        signalAt: 'timing',
      },
    )
    expect(code).toBe(130)
    expect(stderr).toContain('nothing was written')
    expect(existsSync(out)).toBe(false)
  })

  test.each([
    ['--only', 'matmull', 'matmul, attention, step, generate'],
    ['--backend', 'abacus', 'tfjs-wasm'],
    ['--top-k', '2,65', 'from 1 to 64'],
  ])('%s %s is bad usage that says what there is', async (option, value, allowed) => {
    const { code, stderr } = await runHere(['bench', option, value])
    expect(code).toBe(2)
    expect(stderr).toContain(allowed)
  })
})
