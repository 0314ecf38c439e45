import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { isPhsaError } from '@phsa/core'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { webgpu } from '../src/index.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** What `webgpu()` is rejected with. */
const rejection = async () => {
  const error = await webgpu().then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(isPhsaError(error, 'backend-unavailable'), String(error)).toBe(true)
  return (error as Error).message
}

describe('where WebGPU does not work, the reason is told', () => {
  afterEach(() => {
    vi.unstubAllGlobals()
    vi.doUnmock('webgpu')
  })

  test('a browser without an adapter', async () => {
    vi.stubGlobal('navigator', { gpu: { requestAdapter: async () => null } })
    expect(await rejection()).toMatch(/^WebGPU of this browser has no adapter: .*\?$/)
  })

  test('an adapter that gives no device', async () => {
    const adapter = {
      features: new Set(),
      limits: {},
      info: {},
      requestDevice: async () => {
        throw new Error('the adapter is consumed')
      },
    }
    vi.stubGlobal('navigator', { gpu: { requestAdapter: async () => adapter } })
    expect(await rejection()).toBe('WebGPU of this browser gave no device: the adapter is consumed')
  })

  test('a page that is not secure, and a browser without WebGPU', async () => {
    vi.stubGlobal('process', undefined)
    vi.stubGlobal('isSecureContext', false)
    expect(await rejection()).toContain('https and localhost only')
    vi.stubGlobal('isSecureContext', true)
    expect(await rejection()).toMatch(/^This browser has no WebGPU/)
  })

  // A process of its own, because Dawn looks for drivers once.
  test('Node without a Vulkan driver', () => {
    const script = "import { webgpu } from '@phsa/kernels-webgpu'; await webgpu().catch((error) => console.log(error.code, error.message))"
    const env = { ...process.env, VK_DRIVER_FILES: '/no/such/driver.json', VK_ICD_FILENAMES: '/no/such/driver.json' }
    const { stdout } = spawnSync(
      process.execPath,
      ['--import', 'tsx', '--import', './scripts/raw-imports.mjs', '--input-type=module', '--eval', script],
      {
        cwd: root,
        env,
        encoding: 'utf8',
      },
    )
    expect(stdout).toMatch(/^backend-unavailable WebGPU of Node /)
  })
})
