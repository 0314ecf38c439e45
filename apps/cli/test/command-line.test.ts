import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { copyAssets, fixtures, runHere, runPhsa, temporaryFolder } from './run-phsa.js'

describe('command line', () => {
  const folder = temporaryFolder()
  beforeAll(copyAssets)

  test('--help lists every command and the exit codes', async () => {
    const { code, stdout } = await runHere(['--help'])
    expect(code).toBe(0)
    for (const word of ['demo', 'train', 'generate', 'eval', 'inspect', 'bench', 'verify', 'selftest', 'doctor', '130'])
      expect(stdout).toContain(word)
  })

  test('an unknown flag is bad usage', async () => {
    const { code, stderr } = await runHere(['doctor', '--jsno'])
    expect(code).toBe(2)
    expect(stderr).toContain("unknown option '--jsno'")
    expect(stderr).toContain('--json')
  })

  test('an unknown backend is bad usage that lists the known ones', async () => {
    const { code, stderr } = await runHere(['selftest', '--backend', 'abacus'])
    expect(code).toBe(2)
    expect(stderr).toContain('tfjs-wasm')
  })

  test('a number out of bounds is bad usage', async () => {
    const { code, stderr } = await runHere(['generate', '--model', 'm', '--prompt', 'p', '--top-k', '65'])
    expect(code).toBe(2)
    expect(stderr).toContain('from 0 to 64')
  })

  test.each([
    ['--temperature', '-1', 'from 0 to 100'],
    ['--sample-top-k', '1.5', 'an integer of at least 0'],
    ['--top-p', '0', 'to 1'],
    ['--min-p', '2', 'from 0 to 1'],
    ['--seed', 'x', 'an integer from 0'],
    ['--stop', '', 'must not be empty'],
  ])('generate %s "%s" is bad usage', async (option, value, allowed) => {
    const { code, stderr } = await runHere(['generate', '--model', 'm', '--prompt', 'p', option, value])
    expect(code).toBe(2)
    expect(stderr).toContain(option)
    expect(stderr).toContain(allowed)
  })

  test('a missing file is one line without a stack', async () => {
    const { code, stderr } = await runHere(['inspect', join(folder, 'nowhere.txt')])
    expect(code).toBe(2)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(stderr).toContain('does not exist')
  })

  test('a missing file shows its stack with --verbose', async () => {
    const { stderr } = await runHere(['inspect', join(folder, 'nowhere.txt'), '--verbose'])
    expect(stderr).toContain('    at ')
  })

  test('the work goes on when nobody reads its progress', async () => {
    const { code, stdout } = await runPhsa(['inspect', join(fixtures, 'text/valid.txt.gz'), '--max-tokens', '20'], { deaf: true })
    expect(code).toBe(0)
    expect(stdout).toContain('blocks of 16')
  })

  test('a folder in the place of a text is an input that cannot be used', async () => {
    const { code, stderr } = await runHere(['inspect', folder])
    expect(code).toBe(2)
    expect(stderr).toBe(`phsa: ${folder} is a folder; give a text file.\n`)
  })

  test('an empty file is an input that cannot be used', async () => {
    writeFileSync(join(folder, 'empty.txt'), ' \n')
    const { code, stderr } = await runHere(['train', join(folder, 'empty.txt'), '--out', join(folder, 'unused'), '--backend', 'reference'])
    expect(code).toBe(2)
    expect(stderr).toContain('held no document')
  })

  test('doctor --json says which backends work', async () => {
    const { code, stdout } = await runPhsa(['doctor', '--json'])
    expect(code).toBe(0)
    const { machine, backends } = JSON.parse(stdout) as {
      machine: { node: string }
      backends: { name: string; ok: boolean; detail: string }[]
    }
    expect(machine.node).toBe(process.versions.node)
    expect(backends.find(({ name }) => name === 'reference')).toMatchObject({ ok: true })
    for (const { detail } of backends) expect(detail).not.toBe('')
  })
})
