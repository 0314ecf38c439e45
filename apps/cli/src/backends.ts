import {
  type AttentionBackend,
  type AttentionSpec,
  attentionSpec,
  BackendUnavailableError,
  firstSupported,
  type ModelBackend,
  PHSA_4K,
  ReferenceBackend,
} from '@phsa/core'
import type { TfjsOptions } from '@phsa/kernels-tfjs'
import type { WebgpuModelBackend } from '@phsa/kernels-webgpu'
import { UsageError } from './usage-error.js'
import { hasVulkanDriver } from './vulkan-drivers.js'

/** A way to get a backend. The factory rejects with `BackendUnavailableError` and the reason where it cannot work. */
export interface BackendEntry {
  readonly name: string
  readonly description: string
  /** One that computes attention only is refused where a whole model runs. */
  readonly create: () => Promise<AttentionBackend>
}

/** Every value of `--backend`. To offer another backend, add its line here. */
export const backends: readonly BackendEntry[] = [
  { name: 'cuda', description: 'NVIDIA GPUs, Ampere and later', create: () => openCuda() },
  { name: 'webgpu', description: 'any GPU with Vulkan, Metal or Direct3D 12, through the package webgpu', create: () => openWebgpu() },
  { name: 'tfjs', description: 'TensorFlow.js on the best engine that is installed', create: () => openTfjs() },
  { name: 'tfjs-node-gpu', description: 'TensorFlow.js on libtensorflow with CUDA', create: () => openTfjs({ engine: 'node-gpu' }) },
  { name: 'tfjs-node', description: 'TensorFlow.js on libtensorflow', create: () => openTfjs({ engine: 'node' }) },
  { name: 'tfjs-wasm', description: 'TensorFlow.js on WebAssembly SIMD', create: () => openTfjs({ engine: 'wasm' }) },
  { name: 'tfjs-cpu', description: 'TensorFlow.js in plain JavaScript', create: () => openTfjs({ engine: 'cpu' }) },
  { name: 'tfjs-webgpu', description: 'TensorFlow.js on WebGPU', create: () => openTfjs({ engine: 'webgpu' }) },
  {
    name: 'reference',
    description: 'naive loops in float64: slow, what all others are compared with',
    create: async () => new ReferenceBackend(),
  },
]

/** The names of `backends`. */
export const backendNames: readonly string[] = backends.map(({ name }) => name)

/** What `--backend` may leave out: tried in this order, the first that works here and supports the spec. */
const PREFERENCE: readonly BackendEntry['create'][] = [() => openCuda(), () => openHardwareWebgpu(), () => openTfjs()]

/** What a backend must do at least where no model says more. */
const USUAL_SPEC: AttentionSpec = attentionSpec(PHSA_4K, { heads: 4, kvHeads: 2, headDim: 32, dtype: 'f32' })

/**
 * The backend of `--backend`, or the first that works here.
 * @throws UsageError for an unknown name; BackendUnavailableError with every reason
 */
async function openBackend(name: string | undefined, spec: AttentionSpec): Promise<AttentionBackend> {
  return firstSupported(spec, name === undefined ? PREFERENCE : [backendEntry(name).create])
}

/** Runs attention with a backend that is disposed afterwards. */
export async function withAttentionBackend<T>(
  name: string | undefined,
  run: (backend: AttentionBackend) => Promise<T>,
  spec: AttentionSpec = USUAL_SPEC,
): Promise<T> {
  const backend = await openBackend(name, spec)
  try {
    return await run(backend)
  } finally {
    backend.dispose()
  }
}

/** Runs a model with a backend that is disposed afterwards. @throws UsageError for a backend that computes attention only */
export async function withBackend<T>(
  name: string | undefined,
  run: (backend: ModelBackend) => Promise<T>,
  spec?: AttentionSpec,
): Promise<T> {
  return withAttentionBackend(name, async (backend) => run(modelBackend(backend)), spec)
}

/** Whether a backend has all that a decoder needs. */
export function isModelBackend(backend: AttentionBackend): backend is ModelBackend {
  return 'ops' in backend
}

/** @throws UsageError for a backend that computes attention only */
export function modelBackend(backend: AttentionBackend): ModelBackend {
  if (isModelBackend(backend)) return backend
  throw new UsageError(
    `${backend.name} computes attention only, no whole model yet: use it with selftest, verify and bench, or take another --backend.`,
  )
}

function backendEntry(name: string): BackendEntry {
  const entry = backends.find((candidate) => candidate.name === name)
  if (!entry)
    throw new UsageError(`there is no backend ${JSON.stringify(name)}; --backend takes ${backends.map((known) => known.name).join(', ')}.`)
  return entry
}

/** Imported when it is asked for: loading TensorFlow.js takes longer than most commands. */
async function openTfjs(options?: TfjsOptions): Promise<ModelBackend> {
  const { tfjs } = await import('@phsa/kernels-tfjs')
  return tfjs(options)
}

/** Imported when it is asked for, as above. */
async function openCuda(): Promise<ModelBackend> {
  const { cuda } = await import('@phsa/kernels-cuda')
  return cuda()
}

/** Imported when it is asked for, as above. `PHSA_DAWN_FLAGS` holds flags of Dawn, which WebGPU runs on here, apart by spaces. */
async function openWebgpu(): Promise<WebgpuModelBackend> {
  const { webgpu } = await import('@phsa/kernels-webgpu')
  return webgpu({ powerPreference: 'high-performance', dawnFlags: process.env.PHSA_DAWN_FLAGS?.split(' ').filter(Boolean) })
}

/** WebGPU on a GPU. Vulkan in software is for tests: it takes the host's cores as TensorFlow.js does, and is slower than that. */
async function openHardwareWebgpu(): Promise<ModelBackend> {
  // Nobody asked for it by name: it must not fill the terminal with what the Vulkan loader has to say.
  if (process.platform === 'linux' && !hasVulkanDriver(process.env)) {
    throw new BackendUnavailableError('WebGPU has no GPU here: there is no Vulkan driver (VK_DRIVER_FILES names one that is elsewhere).')
  }
  const backend = await openWebgpu()
  if (!backend.gpuDevice.adapterInfo.isFallbackAdapter) return backend
  const { device } = backend
  backend.dispose()
  throw new BackendUnavailableError(`WebGPU has no GPU here, only ${device}, which computes on the host; --backend webgpu takes it.`)
}
