// `npm test`: every check of this repository, one stage after the other, and one line of totals at the end.

import { succeeds } from './command.mjs'
import { ensureInstalled } from './ensure-installed.mjs'
import { installLavapipe } from './install-lavapipe.mjs'
import { runNode24 } from './node24.mjs'
import { runVitest } from './vitest-totals.mjs'

/** @type {(name: string) => () => boolean} */
const npm = (name) => () => succeeds('npm', ['run', '--silent', name])
/** @type {(file: string) => () => boolean} */
const node = (file) => () => succeeds(process.execPath, [file])

// Half a minute with the start of its processes; `npm run soak` goes on for longer.
const fuzz = () => succeeds(process.execPath, ['scripts/soak.mjs', '--seconds', '30'])

let totals = { passed: 0, failed: 0, skipped: 0 }
const tests = () => {
  const { ok, ...counts } = runVitest()
  totals = counts
  return ok
}

// Only where nobody minds a download: by hand it is the same script.
const lavapipe = () => {
  if (process.env.CI) return installLavapipe()
  console.log('skipped: CI is not set; node scripts/install-lavapipe.mjs fetches it')
  return true
}

/** @type {[string, () => boolean][]} */
const stages = [
  ['install', ensureInstalled],
  ['Vulkan in software, with f16', lavapipe],
  ['build', npm('build')],
  ['lint', npm('lint')],
  ['types', npm('typecheck')],
  ['import boundaries', npm('check:boundaries')],
  ['fixtures', node('scripts/check-fixtures.mjs')],
  ['unit and conformance tests', tests],
  ['fuzz', fuzz],
  ['packed packages', npm('check:packages')],
  ['TensorFlow.js for Node', node('scripts/test-tfjs-node.mjs')],
  ['API docs', npm('docs')],
  ['Node 24', runNode24],
]

/** @type {string[]} */
const failed = []
/** @type {string[]} */
const times = []
for (const [name, run] of stages) {
  console.log(`\n=== ${name} ===`)
  const start = performance.now()
  const passed = run()
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  times.push(`${passed ? 'ok  ' : 'FAIL'} ${name} ${seconds} s`)
  console.log(times.at(-1))
  if (!passed) failed.push(name)
  // Nothing after these two could say anything.
  if (!passed && (name === 'install' || name === 'build')) break
}

console.log(`\n=== summary ===\n${times.join('\n')}`)
if (failed.length > 0) console.log(`failed: ${failed.join(', ')}`)
// A failed stage counts as one failure where no failed test stands for it.
const failures = Math.max(totals.failed, failed.length > 0 ? 1 : 0)
console.log(`${totals.passed} passed, ${failures} failed${totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''}`)
process.exit(failures === 0 ? 0 : 1)
