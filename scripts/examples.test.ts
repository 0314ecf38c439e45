import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { readmeBlocks } from './readme-blocks.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = (file: string) => execFileSync(process.execPath, ['--import', 'tsx', `examples/${file}`], { cwd: root, encoding: 'utf8' })

/** What each example must print; one that is not listed here fails. */
const expectations: Record<string, (output: string) => void> = {
  'fit-tfjs-layer.ts': (output) => {
    const [before, after] = [...output.matchAll(/^loss on unseen text .*: (\S+)$/gm)].map(([, loss]) => Number(loss))
    expect(after).toBeLessThan(before - 0.7)
    expect(output).toMatch(/saved and loaded: the same predictions\n$/)
  },
  'swap-backends.ts': (output) => {
    expect(output).toMatch(/reference: .*\ntfjs: /)
    expect(Number(/largest difference of out: (\S+);/.exec(output)?.[1])).toBeLessThan(2e-5)
  },
}

test.each(readdirSync(`${root}examples`).filter((name) => name.endsWith('.ts')))('examples/%s runs', (file) => {
  expect(expectations).toHaveProperty([file])
  expectations[file](run(file))
})

test('the snippet of the README runs', () => {
  const [snippet] = readmeBlocks(readFileSync(`${root}README.md`, 'utf8')).filter(({ language }) => language === 'js')
  const output = execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', snippet.code], {
    cwd: root,
    encoding: 'utf8',
  })
  expect(output.trim().split('\n')).toHaveLength(8)
})
