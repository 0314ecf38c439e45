import { execFile, execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { readmeBlocks } from './readme-blocks.js'

const root = fileURLToPath(new URL('..', import.meta.url))
/** As the header of an example says, but for npx. */
function run(file: string): Promise<string> {
  const text = readFileSync(`${root}examples/${file}`, 'utf8')
  const [, imports] = /^\/\/ {3}npx tsx (.*)examples\//m.exec(text) ?? []
  const args = ['--import', 'tsx', ...imports.trim().split(' ').filter(Boolean), `examples/${file}`]
  return promisify(execFile)(process.execPath, args, { cwd: root }).then(({ stdout }) => stdout)
}

/** What each example must print; one that is not listed here fails. */
const expectations: Record<string, (output: string) => void> = {
  'custom-backend.ts': (output) => {
    expect(output).toMatch(/^passed: \d+ passed, 0 failed, 0 refused\n(\w+: \d+ ms\n)+$/)
  },
  'custom-punctuation.ts': (output) => {
    const counts = [...output.matchAll(/^(\w+): (\d+) of 8192 tokens .* here (.*)$/gm)]
    expect(counts.map(([, name]) => name)).toEqual(['en', 'clause', 'unicode', 'code'])
    expect(counts[3][3].split(' ').every((mark) => '(){}[];'.includes(mark))).toBe(true)
  },
  'hello-attention.ts': (output) => {
    expect(output).toMatch(/^out \[2048,4,32\] and lse \[2048,4\] on /)
    // What the guide says that it prints.
    const [, said] = output.split('\n')
    expect(said).toMatch(/chose blocks (\d+, ){3}\d+ and skipped 89\.8 %/)
    expect(readFileSync(`${root}docs/guide/attention.md`, 'utf8')).toContain(`\n${said}\n`)
  },
  'serve-and-query.ts': (output) => {
    const [sparse, dense] = [...output.matchAll(/read (\d+) keys; dense ones would (\d+)$/gm)].map((found) => found.slice(1).map(Number))
    expect(sparse[0]).toBeLessThan(0.6 * sparse[1])
    expect(dense).toEqual([sparse[1], sparse[1]])
  },
  'swap-backends.ts': (output) => {
    expect(output).toMatch(/reference: .*\ntfjs: /)
    expect(Number(/largest difference of out: (\S+);/.exec(output)?.[1])).toBeLessThan(2e-5)
  },
  'tfjs-layer.ts': (output) => {
    const [before, after] = [...output.matchAll(/^loss on unseen text .*: (\S+)$/gm)].map(([, loss]) => Number(loss))
    expect(after).toBeLessThan(before - 0.7)
    expect(output).toMatch(/saved and loaded: the same predictions\n$/)
  },
}

test.each(readdirSync(`${root}examples`).filter((name) => name.endsWith('.ts')))('examples/%s runs', async (file) => {
  expect(expectations).toHaveProperty([file])
  expectations[file](await run(file))
})

test('the snippet of the README runs', () => {
  const [snippet] = readmeBlocks(readFileSync(`${root}README.md`, 'utf8')).filter(({ language }) => language === 'js')
  const output = execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', snippet.code], {
    cwd: root,
    encoding: 'utf8',
  })
  expect(output.trim().split('\n')).toHaveLength(8)
})
