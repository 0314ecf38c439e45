// `npm test`: every check of this repository, and one line of totals at the end. Stages that use all cores come one after the other; those that mostly
// use one run two at a time, and what they print comes when they are done.

import { collected, succeeds } from './command.mjs'
import { ensureInstalled } from './ensure-installed.mjs'
import { installLavapipe } from './install-lavapipe.mjs'
import { runVitest } from './vitest-totals.mjs'

/** @type {(name: string) => () => boolean} */
const npm = (name) => () => succeeds('npm', ['run', '--silent', name])
/** @type {(file: string) => () => boolean} */
const node = (file) => () => succeeds(process.execPath, [file])

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
  ['import boundaries', npm('check:boundaries')],
  ['fixtures', node('scripts/check-fixtures.mjs')],
  ['unit and conformance tests', tests],
]

/** @type {[string, string, string[]][]} the longest first */
const besideEachOther = [
  ['Node 24', process.execPath, ['scripts/node24.mjs']],
  ['types', 'npm', ['run', '--silent', 'typecheck']],
  ['TensorFlow.js for Node', process.execPath, ['scripts/test-tfjs-node.mjs']],
  // The API reference, then the site around it.
  ['documentation', 'npm', ['run', '--silent', 'docs:site']],
  ['packed packages', 'npm', ['run', '--silent', 'check:packages']],
  // `npm run soak` goes on for longer.
  ['fuzz', process.execPath, ['scripts/soak.mjs', 'fuzz', '--seconds', '15']],
]

/** @type {string[]} */
const failed = []
/** @type {string[]} */
const times = []

/** @type {(name: string, start: number, passed: boolean) => void} */
function finish(name, start, passed) {
  times.push(`${passed ? 'ok  ' : 'FAIL'} ${name} ${((performance.now() - start) / 1000).toFixed(1)} s`)
  console.log(times.at(-1))
  if (!passed) failed.push(name)
}

for (const [name, run] of stages) {
  console.log(`\n=== ${name} ===`)
  finish(name, performance.now(), run())
  // Nothing after these two could say anything.
  if (failed.includes('install') || failed.includes('build')) break
}

async function takeTurns() {
  for (let next = besideEachOther.shift(); next; next = besideEachOther.shift()) {
    const [name, command, args] = next
    const start = performance.now()
    const { ok, text } = await collected(command, args)
    console.log(`\n=== ${name} ===\n${text.trimEnd()}`)
    finish(name, start, ok)
  }
}
if (!failed.includes('install') && !failed.includes('build')) await Promise.all([takeTurns(), takeTurns()])

console.log(`\n=== summary ===\n${times.join('\n')}`)
if (failed.length > 0) console.log(`failed: ${failed.join(', ')}`)
// A failed stage counts as one failure where no failed test stands for it.
const failures = Math.max(totals.failed, failed.length > 0 ? 1 : 0)
console.log(`${totals.passed} passed, ${failures} failed${totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''}`)
process.exit(failures === 0 ? 0 : 1)
