import { describe, expect, test } from 'vitest'
import { assertContract, attentionSpec, BackendUnavailableError, ContractVersionError, firstSupported, PHSA_4K } from '../src/index.js'
import { type HostBackend, hostBackend } from './host-backend.js'

const spec = attentionSpec(PHSA_4K, { heads: 4, kvHeads: 2, headDim: 96, dtype: 'f32' })
const unavailable = async (): Promise<HostBackend> => {
  throw new BackendUnavailableError("no libcuda.so.1: is NVIDIA's driver installed?")
}
const refusing = () => hostBackend({}, { name: 'webgpu', support: { ok: false, reason: 'headDim 96: webgpu has 32, 64, 128' } })

describe('firstSupported', () => {
  test('takes the first that supports the spec and makes no other', async () => {
    const wanted = hostBackend()
    const made: string[] = []
    const chosen = await firstSupported(spec, [
      unavailable,
      async () => {
        made.push('wanted')
        return wanted
      },
      async () => {
        made.push('later')
        return hostBackend()
      },
    ])
    expect(chosen).toBe(wanted)
    expect(made).toEqual(['wanted'])
    expect(wanted.disposed()).toBe(false)
  })

  test('disposes a backend that it refuses', async () => {
    const refused = refusing()
    await firstSupported(spec, [async () => refused, async () => hostBackend()])
    expect(refused.disposed()).toBe(true)
  })

  test('lists every reason when none will do', async () => {
    const failed = firstSupported(spec, [unavailable, async () => refusing()])
    await expect(failed).rejects.toBeInstanceOf(BackendUnavailableError)
    await expect(failed).rejects.toThrow(/libcuda\.so\.1(.|\n)*webgpu: headDim 96: webgpu has 32, 64, 128/)
  })

  test('passes any other error on', async () => {
    const broken = new TypeError('undefined is not a function')
    await expect(firstSupported(spec, [() => Promise.reject(broken), async () => hostBackend()])).rejects.toBe(broken)
  })

  test('says so when no backend was offered', async () => {
    await expect(firstSupported(spec, [])).rejects.toThrow('pass at least one factory')
  })

  test('disposes a backend of another contract version and names both versions', async () => {
    const old = hostBackend({}, { name: 'cuda', contractVersion: 0 })
    const failed = firstSupported(spec, [async () => old])
    await expect(failed).rejects.toBeInstanceOf(ContractVersionError)
    await expect(failed).rejects.toThrow('backend cuda implements contract version 0, this @phsa/core has version 1')
    expect(old.disposed()).toBe(true)
  })
})

test('assertContract accepts its own version', () => {
  expect(() => assertContract(hostBackend())).not.toThrow()
})
