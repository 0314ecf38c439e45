import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkpointName } from '../../src/checkpoint/checkpoint-folder.js'
import { bundleChild } from './bundle-child.js'
import { killRuns } from './kill-runs.js'
import { startTraining } from './training-process.js'
import { UnbrokenRun } from './unbroken-run.js'

/** `npm run soak -- training` kills 200 times. */
const KILLS = 10
const STEPS = 8

let folder: string
let script: string
let whole: UnbrokenRun
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-kill-'))
  script = await bundleChild(folder)
  whole = await UnbrokenRun.train(script, join(folder, 'whole'), STEPS)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('runs that are killed end as the unbroken one', { timeout: 180_000 }, async () => {
  const { kills, duringWrite } = await killRuns({ script, whole, folder, kills: KILLS, seed: 1 })
  expect(kills).toBe(KILLS)
  expect(duringWrite).toBeGreaterThan(0)
})

// ulimit -f, which needs bash, stands for a disk that is full.
test.skipIf(process.platform === 'win32')(
  'a checkpoint that finds no room leaves the last one and says so',
  { timeout: 60_000 },
  async () => {
    const run = join(folder, 'full')
    const options = { script, folder: run, steps: STEPS, keep: 1 }
    expect(await startTraining({ ...options, stopAfter: 2 }).end).toMatchObject({ code: 0, steps: [1, 2] })

    // Small files fit, shards of the weights do not.
    const { code, steps, errors } = await startTraining({ ...options, fileLimit: 16 }).end
    expect(code).toBe(1)
    expect(steps).toEqual([])
    expect(errors).toContain(`${checkpointName(3)} could not be written (EFBIG: file too large, write)`)
    expect(errors).toContain('earlier checkpoints are untouched')
    expect(errors).toContain(`Resume from ${join(run, checkpointName(2))} to go on after step 2.`)
    expect(await whole.requireSame(run, 1)).toBe(2)
    expect((await readdir(run)).filter((name) => name.startsWith('.'))).toEqual([])

    expect(await startTraining(options).end).toMatchObject({ code: 0, errors: '' })
    expect(await whole.requireSame(run, 1)).toBe(STEPS)
    await whole.requireSameLog(run)
  },
)
