import { type AttentionSpec, attentionSpec, firstSupported, type ModelBackend, PHSA_4K, ReferenceBackend } from '@phsa/core'
import type { TfjsOptions } from '@phsa/kernels-tfjs'
import { UsageError } from './usage-error.js'

/** A way to get a backend. The factory rejects with `BackendUnavailableError` and the reason where it cannot work. */
export interface BackendEntry {
  readonly name: string
  readonly description: string
  readonly create: () => Promise<ModelBackend>
}

/** Every value of `--backend`. To offer another backend, add its line here. */
export const backends: readonly BackendEntry[] = [
  { name: 'tfjs', description: 'TensorFlow.js on the best engine that is installed', create: () => openTfjs() },
  { name: 'tfjs-wasm', description: 'TensorFlow.js on WebAssembly SIMD', create: () => openTfjs({ engine: 'wasm' }) },
  { name: 'tfjs-cpu', description: 'TensorFlow.js in plain JavaScript', create: () => openTfjs({ engine: 'cpu' }) },
  {
    name: 'reference',
    description: 'naive loops in float64: slow, what all others are compared with',
    create: async () => new ReferenceBackend(),
  },
]

/** What `--backend` may leave out: tried in this order, the first that works here and supports the spec. */
const PREFERENCE = ['tfjs']

/** What a backend must do at least where no model says more. */
const USUAL_SPEC: AttentionSpec = attentionSpec(PHSA_4K, { heads: 4, kvHeads: 2, headDim: 32, dtype: 'f32' })

/**
 * The backend of `--backend`, or the first that works here.
 * @throws UsageError for an unknown name; BackendUnavailableError with every reason
 */
export async function openBackend(name: string | undefined, spec: AttentionSpec = USUAL_SPEC): Promise<ModelBackend> {
  const entries = name === undefined ? PREFERENCE.map(backendEntry) : [backendEntry(name)]
  return firstSupported(
    spec,
    entries.map((entry) => entry.create),
  )
}

/** Runs with a backend that is disposed afterwards. */
export async function withBackend<T>(
  name: string | undefined,
  run: (backend: ModelBackend) => Promise<T>,
  spec?: AttentionSpec,
): Promise<T> {
  const backend = await openBackend(name, spec)
  try {
    return await run(backend)
  } finally {
    backend.dispose()
  }
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
