import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { argv, stderr, stdout } from 'node:process'
import { bundleChild } from './bundle-child.js'
import { killRuns } from './kill-runs.js'
import { UnbrokenRun } from './unbroken-run.js'

// `npm run soak -- training` runs this: `kill-soak KILLS SEED` says what was killed as one line of JSON. Any difference to the unbroken run is its error.
const [kills, seed] = argv.slice(2).map(Number)
const STEPS = 8

const folder = await mkdtemp(join(tmpdir(), 'phsa-soak-'))
try {
  const script = await bundleChild(folder)
  const whole = await UnbrokenRun.train(script, join(folder, 'whole'), STEPS)
  const onKill = (done: number) => {
    if (done % 20 === 0) stderr.write(`  ${done} kills\n`)
  }
  const report = await killRuns({ script, whole, folder, kills, seed, onKill })
  stdout.write(`${JSON.stringify({ ...report, steps: STEPS })}\n`)
} finally {
  await rm(folder, { recursive: true, force: true, maxRetries: 5 })
}
