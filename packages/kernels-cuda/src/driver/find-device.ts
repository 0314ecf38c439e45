import { BackendUnavailableError } from '@phsa/core'
import type { CudaDriver } from './cuda-driver.js'
import { failureText } from './cuda-error.js'
import { UPDATE_DRIVER } from './driver-library.js'
import { Result } from './result-codes.js'

/** A GPU and what its driver says of it. */
export interface DeviceInfo {
  /** The driver's handle (CUdevice). */
  readonly handle: number
  readonly name: string
  /** 10 * major + minor: 90 for Hopper. */
  readonly computeCapability: number
  readonly totalBytes: number
  readonly multiprocessors: number
  /** Shared memory that a thread block may have at most, where a kernel asks for it. */
  readonly sharedBytes: number
  /** Newest CUDA that the driver serves: 13.0 is 13000. */
  readonly driverVersion: number
}

/** Ampere: the first with bf16 matrix units and asynchronous copies to shared memory. */
const LEAST_CAPABILITY = 80

// CUdevice_attribute
const MULTIPROCESSORS = 16
const SHARED_BYTES_ON_REQUEST = 97
const CAPABILITY_MAJOR = 75
const CAPABILITY_MINOR = 76

/**
 * Starts the driver and looks at one GPU.
 * @param ordinal of the GPU as the driver counts, after CUDA_VISIBLE_DEVICES
 * @param leastDriver the CUDA version that the kernels need of the driver, as in `DeviceInfo.driverVersion`
 * @throws BackendUnavailableError with the reason why none will do
 */
export function findDevice(driver: CudaDriver, ordinal: number, leastDriver: number): DeviceInfo {
  const mustSucceed = (call: string, result: number) => {
    if (result !== Result.success) throw new BackendUnavailableError(`cuda: ${failureText(driver, call, result)}${adviceOn(result)}`)
  }
  const integer = (call: string, read: (value: Int32Array) => number): number => {
    const value = new Int32Array(1)
    mustSucceed(call, read(value))
    return value[0]
  }
  mustSucceed('cuInit', driver.cuInit(0))
  const driverVersion = integer('cuDriverGetVersion', (value) => driver.cuDriverGetVersion(value))
  if (driverVersion < leastDriver) {
    throw new BackendUnavailableError(
      `cuda: the driver serves CUDA ${cudaVersion(driverVersion)}; the kernels need CUDA ${cudaVersion(leastDriver)}. ${UPDATE_DRIVER}`,
    )
  }
  const count = integer('cuDeviceGetCount', (value) => driver.cuDeviceGetCount(value))
  if (count === 0) throw new BackendUnavailableError(`cuda: the driver sees no GPU${adviceOn(Result.noDevice)}`)
  if (!Number.isInteger(ordinal) || ordinal < 0 || ordinal >= count) {
    throw new BackendUnavailableError(`cuda: device is ${ordinal}; there are ${count} GPUs, 0 to ${count - 1}.`)
  }
  const handle = integer('cuDeviceGet', (value) => driver.cuDeviceGet(value, ordinal))
  const attribute = (number: number) => integer('cuDeviceGetAttribute', (value) => driver.cuDeviceGetAttribute(value, number, handle))
  const nameBytes = new Uint8Array(256)
  mustSucceed('cuDeviceGetName', driver.cuDeviceGetName(nameBytes, handle))
  const totalBytes = new BigUint64Array(1)
  mustSucceed('cuDeviceTotalMem', driver.cuDeviceTotalMem(totalBytes, handle))
  const name = new TextDecoder().decode(nameBytes.subarray(0, nameBytes.indexOf(0)))
  const computeCapability = 10 * attribute(CAPABILITY_MAJOR) + attribute(CAPABILITY_MINOR)
  if (computeCapability < LEAST_CAPABILITY) {
    throw new BackendUnavailableError(
      `cuda: ${name} has compute capability ${capabilityText(computeCapability)}; the kernels need ${capabilityText(LEAST_CAPABILITY)} (Ampere) or newer. Use another backend.`,
    )
  }
  return {
    handle,
    name,
    computeCapability,
    totalBytes: Number(totalBytes[0]),
    multiprocessors: attribute(MULTIPROCESSORS),
    sharedBytes: attribute(SHARED_BYTES_ON_REQUEST),
    driverVersion,
  }
}

/** 13010 is CUDA 13.1. */
export function cudaVersion(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`
}

/** 90 is compute capability 9.0. */
export function capabilityText(capability: number): string {
  return `${Math.floor(capability / 10)}.${capability % 10}`
}

function adviceOn(result: number): string {
  if (result === Result.noDevice) return '; is one there, and not hidden by CUDA_VISIBLE_DEVICES?'
  if (result === Result.systemDriverMismatch || result === Result.compatNotSupported) {
    return '; the driver library and the kernel module are of different releases: restart the machine, or drop the compatibility library.'
  }
  return '.'
}
