import type { Tensor } from '../../contract/tensor.js'
import { BASE_SPEC } from '../base-spec.js'
import { errorCheck } from '../error-check.js'
import { Probe } from '../probe.js'
import { type CaptureBackend, replayed, withCapture } from '../replayed.js'
import { booleanCheck, constantCheck, identityCheck, type TensorCheck } from '../tensor-check.js'

const COUNT = 1000

/** f32 [COUNT] each: what the step reads and what it copies to. */
interface Tensors {
  readonly source: Tensor
  readonly target: Tensor
}

type CaptureMemoryCheck = (backend: CaptureBackend, tensors: Tensors) => Promise<TensorCheck[]>

const checks: Readonly<Record<string, CaptureMemoryCheck>> = {
  'records-without-running': async (backend, { source, target }) => {
    const { memory } = backend
    const step = () => {
      memory.copy(source, target)
      return {}
    }
    return withCapture(backend, step, async (captured) => {
      memory.write(source, filled(2))
      const recorded = await memory.download(target)
      captured.replay()
      return [constantCheck('before a replay', recorded, 1), constantCheck('after it', await memory.download(target), 2)]
    })
  },
  zeros: async (backend, { target }) => {
    const { memory } = backend
    const step = () => {
      memory.zero(target)
      return { fresh: memory.alloc([COUNT], 'f32') }
    }
    return withCapture(backend, step, async (captured) => {
      const found: TensorCheck[] = []
      for (const time of ['first', 'second']) {
        memory.write(target, filled(3))
        memory.write(captured.result.fresh, filled(4))
        const { fresh } = await replayed(backend, captured)
        found.push(constantCheck(`alloc, ${time} replay`, fresh, 0))
        found.push(constantCheck(`zero, ${time} replay`, await memory.download(target), 0))
      }
      return found
    })
  },
  'queue-order': async (backend, { source }) => {
    const { memory } = backend
    return withCapture(backend, copyOf(backend, source), async (captured) => {
      const pending = [5, 6, 7].map((value) => {
        memory.write(source, filled(value))
        return replayed(backend, captured)
      })
      memory.write(source, filled(8))
      const values = await Promise.all(pending)
      return values.map(({ copy }, index) => constantCheck(`replay ${index}`, copy, index + 5))
    })
  },
  'memory-apart': async (backend, { source }) => {
    const { memory } = backend
    // Large parts that the step frees: whoever gets their memory afterwards would be written over by a replay.
    const step = () =>
      memory.scope(() => {
        const parts = [1, 2, 3].map(() => memory.alloc([COUNT], 'f32'))
        for (const part of parts) memory.copy(source, part)
        const copy = memory.alloc([COUNT], 'f32')
        memory.copy(parts[2], copy)
        return { copy }
      })
    return withCapture(backend, step, async (captured) => {
      const others = Array.from({ length: 8 }, (_, index) => memory.upload(filled(index), [COUNT]))
      memory.write(source, filled(9))
      const { copy } = await replayed(backend, captured)
      const kept = await Promise.all(others.map((other) => memory.download(other)))
      for (const other of others) memory.write(other, filled(-1))
      const unread = await replayed(backend, captured)
      for (const other of others) other.dispose()
      return [
        constantCheck('result', copy, 9),
        constantCheck('result beside others', unread.copy, 9),
        ...kept.map((values, index) => constantCheck(`tensor ${index} outside`, values, index)),
      ]
    })
  },
  'refused-calls': async (backend, { source }) => {
    const { memory, paged } = backend
    const lambda = memory.upload(Float32Array.of(0.5, 0.5), [2])
    const calls: Record<string, () => unknown> = {
      upload: () => memory.upload(filled(1), [COUNT]),
      write: () => memory.write(source, filled(9)),
      createCache: () => paged.createCache({ spec: BASE_SPEC, pages: 1, pageTokens: 16, lambda }),
    }
    const found: TensorCheck[] = []
    for (const [name, call] of Object.entries(calls)) {
      found.push(await errorCheck(name, 'capture', () => backend.capture(() => void call())))
    }
    // These reject, so that the step goes on.
    const rejected: Promise<unknown>[] = []
    const captured = await backend.capture(() => {
      rejected.push(memory.download(source), backend.capture(copyOf(backend, source)))
      // Looked at below, when the step is done.
      for (const each of rejected) each.catch(() => undefined)
      return copyOf(backend, source)()
    })
    for (const [index, name] of ['download', 'capture'].entries()) found.push(await errorCheck(name, 'capture', () => rejected[index]))
    const { copy } = await replayed(backend, captured)
    captured.dispose()
    lambda.dispose()
    return [...found, constantCheck('the backend works on', copy, 1)]
  },
  'step-throws': async (backend, { source }) => {
    const { memory } = backend
    const before = memory.usage()
    let message = ''
    try {
      await backend.capture(() => {
        memory.copy(source, memory.alloc([COUNT], 'f32'))
        throw new RangeError('from inside')
      })
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      message = error.message
    }
    const after = memory.usage()
    return [
      booleanCheck('the error passes', message === 'from inside', message),
      booleanCheck('nothing is left', after.tensors === before.tensors && after.bytes === before.bytes),
      constantCheck('the backend works on', await memory.download(source), 1),
      ...(await withCapture(backend, copyOf(backend, source), async (captured) => {
        return [constantCheck('another step is recorded', (await replayed(backend, captured)).copy, 1)]
      })),
    ]
  },
  dispose: async (backend, { source }) => {
    const { memory } = backend
    const before = memory.usage().tensors
    const captured = await backend.capture(() => {
      memory.alloc([COUNT], 'f32')
      return copyOf(backend, source)()
    })
    const held = memory.usage().tensors - before
    captured.replay()
    const pending = memory.download(captured.result.copy)
    captured.dispose()
    captured.dispose()
    return [
      booleanCheck('only the result lives', held === 1, `${held} tensors are alive; 1 was returned`),
      constantCheck('a download under way arrives', await pending, 1),
      booleanCheck('nothing lives', memory.usage().tensors === before),
      await errorCheck('replay', 'disposed', () => captured.replay()),
      await errorCheck('the result', 'disposed', () => memory.download(captured.result.copy)),
      identityCheck('the source', await memory.download(source), filled(1)),
    ]
  },
}

/** Names of what is asked of `capture` whatever the step computes. */
export const captureMemoryChecks = Object.keys(checks)

/** Runs one of `captureMemoryChecks`. */
export async function checkCaptureMemory(backend: CaptureBackend, name: string): Promise<TensorCheck[]> {
  const probe = new Probe(backend)
  try {
    const [source, target] = [1, 2].map(() => probe.changing(filled(1), [COUNT], 'f32'))
    return await checks[name](backend, { source, target })
  } finally {
    probe.dispose()
  }
}

function copyOf({ memory }: CaptureBackend, source: Tensor): () => { copy: Tensor } {
  return () => {
    const copy = memory.alloc([COUNT], 'f32')
    memory.copy(source, copy)
    return { copy }
  }
}

function filled(value: number): Float32Array {
  return new Float32Array(COUNT).fill(value)
}
