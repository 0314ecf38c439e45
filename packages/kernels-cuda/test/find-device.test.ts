import { isPhsaError } from '@phsa/core'
import { describe, expect, test } from 'vitest'
import { Device } from '../src/driver/device.js'
import { findDevice } from '../src/driver/find-device.js'
import { runsOn } from '../src/driver/kernel-archive.js'
import { FakeDriver, type FakeMachine, fakeArchive } from './fake-driver.js'

/** The message of the BackendUnavailableError that finding a device rejects with. */
function reason(machine: FakeMachine, failures: Record<string, number[]> = {}, ordinal = 0, archive = fakeArchive()): string {
  const driver = new FakeDriver(machine, archive)
  for (const [call, results] of Object.entries(failures)) driver.failures.set(call, results)
  try {
    new Device(driver, findDevice(driver, ordinal, archive.leastDriver), archive)
  } catch (error) {
    expect(driver.contexts, 'contexts left').toBe(0)
    if (isPhsaError(error, 'backend-unavailable')) return error.message
    throw error
  }
  throw new Error('the device was found')
}

test('a device is found and described', () => {
  const driver = new FakeDriver()
  expect(findDevice(driver, 0, 13000)).toEqual({
    handle: 0,
    name: 'Fake GPU',
    computeCapability: 90,
    totalBytes: 2 ** 30,
    multiprocessors: 132,
    sharedBytes: 232448,
    driverVersion: 13000,
  })
})

describe('a reason for each way of not working', () => {
  test('no GPU', () => {
    expect(reason({}, { cuInit: [100] })).toBe(
      'cuda: cuInit: ERROR_100 (100), what 100 means; is one there, and not hidden by CUDA_VISIBLE_DEVICES?',
    )
    expect(reason({ devices: 0 })).toMatch('the driver sees no GPU; is one there')
  })
  test('a driver library of another release than the kernel module', () => {
    expect(reason({}, { cuInit: [803] })).toMatch('restart the machine')
  })
  test('a driver too old', () => {
    expect(reason({ version: 12080 })).toBe(
      "cuda: the driver serves CUDA 12.8; the kernels need CUDA 13.0. Update NVIDIA's driver (CUDA 13.0 comes with 580).",
    )
  })
  test('a device that is not there', () => {
    expect(reason({ devices: 2 }, {}, 2)).toBe('cuda: device is 2; there are 2 GPUs, 0 to 1.')
    expect(reason({}, {}, 0.5)).toMatch('device is 0.5')
  })
  test('a GPU too old', () => {
    expect(reason({ capability: 75 })).toBe(
      'cuda: Fake GPU has compute capability 7.5; the kernels need 8.0 (Ampere) or newer. Use another backend.',
    )
  })
  test('kernels for other GPUs only', () => {
    expect(reason({ capability: 80 })).toMatch('compute capability 8.0; the kernels were built for sm_90a')
  })
  test('a context that cannot be had, and a stream', () => {
    expect(reason({}, { cuDevicePrimaryCtxRetain: [2] })).toMatch('cuda: Fake GPU: cuDevicePrimaryCtxRetain: ERROR_2 (2)')
    expect(reason({}, { cuStreamCreate: [2] })).toMatch('cuStreamCreate')
  })
})

test.each([
  [['sm_80'], 80, true],
  [['sm_80'], 86, true],
  [['sm_80'], 90, false],
  [['sm_89'], 86, false],
  [['sm_90a'], 90, true],
  [['sm_90a'], 100, false],
  [['sm_80', 'compute_80'], 120, true],
  [['compute_80'], 75, false],
  [[], 90, false],
])('code for %j on capability %i: %s', (targets, capability, expected) => {
  expect(runsOn(targets, capability)).toBe(expected)
})
