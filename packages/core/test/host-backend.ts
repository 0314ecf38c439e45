import { type AttentionBackend, type BackendLostError, CONTRACT_VERSION, type Memory, type Support, type Tensor } from '../src/index.js'
import { HostMemory } from '../src/reference/host-memory.js'

/** One call of a kernel, with its input. */
export interface RecordedCall {
  readonly kernel: string
  // Kernels have different inputs; a test looks at the fields it knows.
  readonly input: Record<string, unknown>
}

export interface HostBackend extends AttentionBackend {
  readonly calls: RecordedCall[]
  readonly disposed: () => boolean
}

/**
 * A backend that computes nothing: it keeps tensors on the host, counts the live ones and records what its kernels are asked.
 * @param outputs makes a kernel's result; without one it returns a zero i32 tensor
 */
export function hostBackend(
  outputs: Record<string, (memory: Memory, input: Record<string, unknown>) => unknown> = {},
  { name = 'host', support = { ok: true } as Support, contractVersion = CONTRACT_VERSION } = {},
): HostBackend {
  const memory = new HostMemory({}, { name, supports: () => support })
  const calls: RecordedCall[] = []
  let disposed = false
  const kernels = new Proxy({} as AttentionBackend['attention'], {
    get: (_, kernel) => (input: Record<string, unknown>) => {
      calls.push({ kernel: String(kernel), input })
      return (outputs[String(kernel)] ?? (() => memory.alloc([1], 'i32')))(memory, input)
    },
  })
  return {
    contractVersion,
    name,
    device: 'host',
    limits: { dtypes: ['f32'], blocking: true },
    memory,
    attention: kernels,
    paged: {} as AttentionBackend['paged'],
    supports: () => support,
    prepare: async () => {},
    lost: new Promise<BackendLostError>(() => {}),
    dispose: () => {
      disposed = true
    },
    calls,
    disposed: () => disposed,
  }
}

/** Elements of a tensor of a stand-in backend. */
export function elements(memory: Memory, tensor: unknown): number[] {
  return [...(memory as HostMemory).reals(tensor as Tensor)]
}
