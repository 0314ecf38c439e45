import { BackendUnavailableError } from '@phsa/core'

/** Where the GPU comes from, and what it may do. */
export interface FoundGpu {
  readonly adapter: GPUAdapter
  readonly device: GPUDevice
}

/** What to look for. */
export interface GpuChoice {
  readonly powerPreference?: GPUPowerPreference
  /** Of Dawn under Node, such as `enable-dawn-features=allow_unsafe_apis`; nothing in a browser. */
  readonly dawnFlags?: readonly string[]
}

/** Features that the backend uses where they are there. */
const WANTED_FEATURES = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix', 'timestamp-query'] as GPUFeatureName[]
/** Limits that are asked for as high as the adapter goes; the others stay at WebGPU's defaults, which every kernel keeps to. */
const RAISED_LIMITS = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize'] as const

/**
 * A device of the browser, or of Dawn under Node.
 * @throws BackendUnavailableError with the reason
 */
export async function findGpu({ powerPreference, dawnFlags = [] }: GpuChoice): Promise<FoundGpu> {
  const { gpu, place } = await findWebgpu(dawnFlags)
  const adapter = await gpu.requestAdapter({ powerPreference }).catch((cause) => {
    throw new BackendUnavailableError(`WebGPU of ${place} gave no adapter: ${messageOf(cause)}`, { cause })
  })
  if (!adapter) {
    throw new BackendUnavailableError(
      `WebGPU of ${place} has no adapter: ${place === 'Node' ? NODE_REMEDY : 'is the GPU blocked, or switched off in the settings?'}`,
    )
  }
  const requiredFeatures = WANTED_FEATURES.filter((feature) => adapter.features.has(feature))
  const requiredLimits = Object.fromEntries(RAISED_LIMITS.map((name) => [name, adapter.limits[name]]))
  try {
    return { adapter, device: await adapter.requestDevice({ requiredFeatures, requiredLimits }) }
  } catch (cause) {
    throw new BackendUnavailableError(`WebGPU of ${place} gave no device: ${messageOf(cause)}`, { cause })
  }
}

const NODE_REMEDY = 'under Linux it needs libvulkan.so.1 and a Vulkan driver (VK_DRIVER_FILES names one that is elsewhere).'

async function findWebgpu(dawnFlags: readonly string[]): Promise<{ gpu: GPU; place: string }> {
  if (globalThis.navigator?.gpu) return { gpu: navigator.gpu, place: 'this browser' }
  if (typeof process === 'undefined' || !process.versions?.node) {
    throw new BackendUnavailableError(
      globalThis.isSecureContext === false
        ? 'This page has no WebGPU, which browsers offer to https and localhost only.'
        : 'This browser has no WebGPU; a current Chrome, Edge, Safari or Firefox has.',
    )
  }
  const { dawn } = await import('./dawn.js')
  return { gpu: await dawn(dawnFlags), place: 'Node' }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
