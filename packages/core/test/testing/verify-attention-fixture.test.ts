import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { reference } from '../../src/reference/reference-backend.js'
import { verifyAttentionFixture } from '../../src/testing/index.js'

const folder = fileURLToPath(new URL('../../../../fixtures/attention/', import.meta.url))
const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors'))

/** A fixture with one of its parameters changed or left out; the tensors stay. */
function withSetting(name: string, value: string | undefined): Uint8Array {
  const bytes = readFileSync(`${folder}small.safetensors`)
  const length = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString())
  header.__metadata__[name] = value
  const json = Buffer.from(JSON.stringify(header))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(json.length))
  return Buffer.concat([prefix, json, bytes.subarray(8 + length)])
}

describe('verifyAttentionFixture', () => {
  test('there are fixtures', () => {
    expect(files.length).toBeGreaterThanOrEqual(9)
  })

  test.each(files)('the reference agrees with %s', async (name) => {
    const report = await verifyAttentionFixture(readFileSync(folder + name), await reference())
    expect(report.checks.filter((check) => !check.ok)).toEqual([])
    const names = report.checks.map((check) => check.name)
    expect(names).toEqual(expect.arrayContaining(['reps', 'selected form', "file's selected score", 'out', 'lse', 'dq', 'dk', 'dv']))
    expect(names.includes('distil.dlambda')).toBe(['per-head-lambda', 'sub-blocks'].some((with_) => name.startsWith(with_)))
  })

  test('a backend that is wrong is found out', async () => {
    const backend = await reference()
    const attend = backend.attention.attend
    const wrong = {
      ...backend,
      attention: { ...backend.attention, attend: (input: Parameters<typeof attend>[0]) => attend({ ...input, v: input.k }) },
    }
    const report = await verifyAttentionFixture(readFileSync(`${folder}small.safetensors`), {
      ...wrong,
      supports: backend.supports,
      prepare: backend.prepare,
      dispose: backend.dispose,
    })
    expect(report.ok).toBe(false)
    expect(report.checks.find(({ name }) => name === 'out')?.ok).toBe(false)
    expect(report.checks.find(({ name }) => name === 'lse')?.ok).toBe(true)
  })

  test.each<[string, Uint8Array, string]>([
    ['no safetensors', new Uint8Array(20).fill(255), 'truncated or no safetensors'],
    ['a setting missing', withSetting('topK', undefined), 'no topK'],
    ['a setting that is no number', withSetting('topK', 'two'), 'topK is "two"'],
    ['a score that is none', withSetting('score', 'best'), 'must be softmax'],
    ['a lambda out of range', withSetting('lambda', '1.5'), 'lambda 1.5'],
    ['another head count', withSetting('numHeads', '2'), 'shape [150,4,32]'],
    ['a head count that does not divide', withSetting('numHeads', '3'), 'multiple of kvHeads'],
    ['lambda per head without its tensor', withSetting('lambda', 'per-head'), 'no tensor lambda'],
  ])('%s is an error that says so', async (_, bytes, message) => {
    await expect(verifyAttentionFixture(bytes, await reference())).rejects.toMatchObject({
      code: 'invalid-file',
      message: expect.stringContaining(message),
    })
  })
})
