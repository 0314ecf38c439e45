import { type ConformanceCase, failureText, runConformance } from '@phsa/core/testing'
import { beforeAll, describe, expect, test } from 'vitest'
import { CudaBackend } from '../../src/cuda-backend.js'
import { Device } from '../../src/driver/device.js'
import { findDevice } from '../../src/driver/find-device.js'
import { crossEntropyOps } from '../../src/ops/cross-entropy.js'
import { kernelProducts } from '../../src/products/kernel-products.js'
import { buildEmulation, missingCompiler } from './build-emulation.js'
import { emulatedMachine } from './emulated-cuda.js'

const missing = missingCompiler()

describe.skipIf(missing)(`cross-entropy in many chunks${missing ? ` (skipped: ${missing})` : ''}`, { timeout: 600_000 }, () => {
  beforeAll(async () => {
    await buildEmulation()
  }, 600_000)

  // Logits of 8 KiB are 6 tokens of these cases; a gradient of bf16 is summed in f32 all the same.
  test('is the same as in one', async () => {
    const filter = ({ name }: ConformanceCase) => /^(f32|bf16)\/ops\/cross-entropy(-far|-all-ignored)?(-backward)?$/.test(name)
    const report = await runConformance({ name: 'cuda, emulated', create: () => backendOfChunks([2 ** 13]), filter })
    expect(report.cases.filter(({ outcome }) => outcome === 'failed').map(failureText)).toEqual([])
    expect(report.passed).toBe(10)
  })
})

async function backendOfChunks(logitsBytes: readonly number[]) {
  const { driver, archive } = await emulatedMachine()
  const device = new Device(driver, findDevice(driver, 0, archive.leastDriver), archive)
  const backend = new CudaBackend(device, false)
  const ops = { ...backend.ops, ...crossEntropyOps(device, backend.memory, kernelProducts(device), logitsBytes) }
  return Object.assign(backend, { ops })
}
