import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseSafetensors } from '@phsa/core'
import { describe, expect, test } from 'vitest'
import { fixtures, runHere, runPhsa, temporaryFolder } from './run-phsa.js'

const small = join(fixtures, 'attention/small.safetensors')

describe('phsa verify', () => {
  const folder = temporaryFolder()
  const bytes = readFileSync(small)

  test('a fixture is within bounds on the reference', async () => {
    const { code, stdout } = await runHere(['verify', small, '--backend', 'reference', '--json'])
    expect(code).toBe(0)
    const { ok, findings } = JSON.parse(stdout) as { ok: boolean; findings: { name: string; error: number; bound: number }[] }
    expect(ok).toBe(true)
    expect(findings.map(({ name }) => name).join()).toContain('dk')
  })

  test('a folder of attention files is checked file by file', async () => {
    const both = join(folder, 'both')
    mkdirSync(both)
    for (const name of ['one', 'two']) cpSync(small, join(both, `${name}.safetensors`))
    const { code, stdout } = await runHere(['verify', both, '--backend', 'reference', '--json'])
    expect(code).toBe(0)
    const { findings } = JSON.parse(stdout) as { findings: { name: string }[] }
    const names = findings.map(({ name }) => name)
    expect(names).toContain('one.safetensors: dk')
    expect(names).toContain('two.safetensors: dk')
  })

  test('a relative path that leads upwards works', async () => {
    const { code } = await runPhsa(['verify', '../attention/small.safetensors', '--backend', 'reference'], { cwd: join(fixtures, 'text') })
    expect(code).toBe(0)
  })

  test('a changed output is out of bounds, by name', async () => {
    const changed = Buffer.from(bytes)
    const header = Number(changed.readBigUInt64LE(0))
    const { data_offsets: offsets } = (
      JSON.parse(changed.subarray(8, 8 + header).toString()) as Record<string, { data_offsets: [number, number] }>
    ).out
    const first = 8 + header + offsets[0]
    for (let element = 0; element < 32; element++) changed.writeFloatLE(changed.readFloatLE(first + element * 4) + 1, first + element * 4)
    const file = join(folder, 'changed.safetensors')
    writeFileSync(file, changed)
    expect(parseSafetensors(readFileSync(file)).entries.has('out')).toBe(true)
    const { code, stdout } = await runHere(['verify', file, '--backend', 'reference'])
    expect(code).toBe(1)
    expect(stdout).toMatch(/^out .*OUT/m)
    expect(stdout).not.toMatch(/^dv .*OUT/m)
  })

  test('a truncated file cannot be understood', async () => {
    const file = join(folder, 'truncated.safetensors')
    writeFileSync(file, bytes.subarray(0, bytes.length / 2))
    const { code, stderr } = await runHere(['verify', file, '--backend', 'reference'])
    expect(code).toBe(2)
    expect(stderr).toContain('truncated.safetensors')
    expect(stderr.trim().split('\n')).toHaveLength(1)
  })

  test('a model folder in bf16 has wider bounds', async () => {
    const folder = join(fixtures, 'models/qwen3-tiny')
    const { code, stdout } = await runHere(['verify', folder, '--backend', 'reference', '--dtype', 'bf16', '--json'])
    expect(code).toBe(0)
    const { findings } = JSON.parse(stdout) as { findings: { name: string; error: number; bound: number }[] }
    expect(findings.find(({ name }) => name === 'dense: logits')).toMatchObject({ bound: 5e-2 })
  })

  test('an attention file has a type of its own', async () => {
    const { code, stderr } = await runHere(['verify', small, '--backend', 'reference', '--dtype', 'bf16'])
    expect(code).toBe(2)
    expect(stderr).toContain('--dtype is for model folders')
  })

  test('a folder without a model cannot be understood', async () => {
    const { code, stderr } = await runHere(['verify', temporaryFolder(), '--backend', 'reference'])
    expect(code).toBe(2)
    expect(stderr).toContain('reference.safetensors')
  })
})
