import type { AttentionBackend } from '../../contract/attention-backend.js'
import type { Memory } from '../../contract/memory.js'
import type { DType, HostArray, Tensor } from '../../contract/tensor.js'
import { RandomStream } from '../../random-stream.js'
import { errorCheck } from '../error-check.js'
import { rounded } from '../rounded.js'
import { booleanCheck, identityCheck, type TensorCheck } from '../tensor-check.js'

type MemoryCheck = (memory: Memory, dtype: DType) => Promise<TensorCheck[]>

/** What is asked of `Memory`, by name. Each frees what it makes: the session counts what is left. */
export const memoryChecks: Readonly<Record<string, MemoryCheck>> = {
  'round-trip': async (memory, dtype) => {
    const data = numbers(dtype, 3 * 5 * 7)
    const tensor = memory.upload(data, [3, 5, 7], dtype)
    // The array may be changed as soon as the call returns.
    const sent = data.slice()
    data.fill(0)
    const received = await memory.download(tensor)
    tensor.dispose()
    return [identityCheck('values', received, stored(sent, dtype)), booleanCheck('kind', received.constructor === data.constructor)]
  },
  'ties-to-even': async (memory, dtype) => {
    const data = dtype === 'i32' ? Int32Array.of(-(2 ** 31), 2 ** 31 - 1, 0, -1) : rounding()
    const tensor = memory.upload(data, [data.length], dtype)
    const received = await memory.download(tensor)
    tensor.dispose()
    return [identityCheck('values', received, stored(data, dtype))]
  },
  'write-in-place': async (memory, dtype) => {
    const tensor = memory.upload(numbers(dtype, 24), [24], dtype)
    const view = memory.reshape(tensor, [4, 6])
    const data = numbers(dtype, 24, 2)
    memory.write(tensor, data)
    const [own, through] = [await memory.download(tensor), await memory.download(view)]
    for (const each of [tensor, view]) each.dispose()
    return [identityCheck('tensor', own, stored(data, dtype)), identityCheck('view', through, stored(data, dtype))]
  },
  'download-in-queue-order': async (memory, dtype) => {
    const data = numbers(dtype, 24)
    const tensor = memory.upload(data, [24], dtype)
    const pending = memory.download(tensor)
    memory.write(tensor, numbers(dtype, 24, 2))
    tensor.dispose()
    return [identityCheck('values before the write', await pending, stored(data, dtype))]
  },
  'alloc-and-zero': async (memory, dtype) => {
    // Full of numbers, so that recycled memory is not zero by luck.
    memory.upload(numbers(dtype, 40), [40], dtype).dispose()
    const fresh = memory.alloc([5, 8], dtype)
    const used = memory.upload(numbers(dtype, 40), [40], dtype)
    memory.zero(used)
    const [allocated, zeroed] = [await memory.download(fresh), await memory.download(used)]
    for (const each of [fresh, used]) each.dispose()
    const zeros = stored(numbers(dtype, 40).fill(0), dtype)
    return [identityCheck('alloc', allocated, zeros), identityCheck('zero', zeroed, zeros)]
  },
  copy: async (memory, dtype) => {
    const data = numbers(dtype, 30)
    const source = memory.upload(data, [5, 6], dtype)
    const target = memory.alloc([30], dtype)
    memory.copy(source, target)
    // Between float types the copy converts, with one rounding.
    const wide = memory.upload(data, [30], dtype === 'i32' ? 'i32' : 'f32')
    const narrow = memory.alloc([30], dtype)
    memory.copy(wide, narrow)
    const [copied, converted] = [await memory.download(target), await memory.download(narrow)]
    for (const each of [source, target, wide, narrow]) each.dispose()
    return [identityCheck('same type', copied, stored(data, dtype)), identityCheck('converted', converted, stored(data, dtype))]
  },
  'views-share': async (memory, dtype) => {
    const before = memory.usage()
    const tensor = memory.upload(numbers(dtype, 24), [24], dtype)
    const alone = memory.usage()
    const view = memory.reshape(tensor, [2, 12])
    const both = memory.usage()
    tensor.dispose()
    tensor.dispose()
    const held = await memory.download(view)
    view.dispose()
    const after = memory.usage()
    return [
      booleanCheck('a view is no tensor of its own', both.tensors === alone.tensors && both.bytes === alone.bytes),
      booleanCheck('one more tensor', alone.tensors === before.tensors + 1, `${alone.tensors - before.tensors} more`),
      identityCheck('the view lives on', held, stored(numbers(dtype, 24), dtype)),
      booleanCheck('freed with the last view', after.tensors === before.tensors && after.bytes === before.bytes),
      booleanCheck('shape', String(view.shape) === '2,12' && view.dtype === dtype),
    ]
  },
  'zero-extent': async (memory, dtype) => {
    const empty = memory.upload(numbers(dtype, 0), [4, 0, 3], dtype)
    const allocated = memory.alloc([0], dtype)
    memory.zero(allocated)
    memory.write(empty, numbers(dtype, 0))
    const view = memory.reshape(empty, [0, 7])
    const lengths = [(await memory.download(empty)).length, (await memory.download(allocated)).length, (await memory.download(view)).length]
    for (const each of [empty, allocated, view]) each.dispose()
    return [
      booleanCheck(
        'nothing in, nothing out',
        lengths.every((length) => length === 0),
        `lengths ${lengths}`,
      ),
    ]
  },
  scope: async (memory, dtype) => {
    const before = memory.usage().tensors
    const inside: Tensor[] = []
    const make = () => {
      const tensor = memory.alloc([3], dtype)
      inside.push(tensor)
      return tensor
    }
    const kept = memory.scope(() => {
      make()
      const nested = memory.scope(() => {
        make()
        return { deep: [{ tensor: make() }] }
      })
      make()
      return { list: [make()], nested, plain: 5 }
    })
    const alive = memory.usage().tensors - before
    const values = await memory.download(kept.nested.deep[0].tensor)
    const checks = [
      booleanCheck('results live on', alive === 2, `${alive} tensors are alive; 2 were returned`),
      booleanCheck('other values pass', kept.plain === 5),
      booleanCheck('a nested result survives', values.length === 3),
      await errorCheck('a tensor of the scope is gone', 'disposed', () => memory.download(inside[0])),
    ]
    kept.list[0].dispose()
    kept.nested.deep[0].tensor.dispose()
    return checks
  },
  'scope-throws': async (memory, dtype) => {
    const before = memory.usage().tensors
    const outside = memory.alloc([3], dtype)
    let message = ''
    try {
      memory.scope(() => {
        memory.alloc([3], dtype)
        throw new RangeError('from inside')
      })
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      message = error.message
    }
    const left = memory.usage().tensors - before
    const checks = [
      booleanCheck('the error passes', message === 'from inside', message),
      booleanCheck('everything made inside is freed, nothing else', left === 1, `${left} tensors are alive; 1 was made outside`),
    ]
    outside.dispose()
    return checks
  },
  'scope-refuses-a-promise': async (memory, dtype) => {
    let threw = false
    try {
      await memory.scope(async () => {
        memory.alloc([3], dtype)
      })
    } catch {
      // Any error will do: which one is not part of the contract.
      threw = true
    }
    return [booleanCheck('a promise is an error', threw)]
  },
  errors: async (memory, dtype) => {
    const tensor = memory.alloc([2, 3], dtype)
    const wrongKind = dtype === 'i32' ? new Float32Array(6) : new Int32Array(6)
    const checks = [
      await errorCheck('upload of a wrong length', 'shape', () => memory.upload(numbers(dtype, 5), [2, 3], dtype)),
      await errorCheck('upload of a wrong kind', 'shape', () => memory.upload(wrongKind, [2, 3], dtype)),
      await errorCheck('write of a wrong length', 'shape', () => memory.write(tensor, numbers(dtype, 7))),
      await errorCheck('reshape to another count', 'shape', () => memory.reshape(tensor, [7])),
    ]
    tensor.dispose()
    return [
      ...checks,
      await errorCheck('download after dispose', 'disposed', () => memory.download(tensor)),
      await errorCheck('write after dispose', 'disposed', () => memory.write(tensor, numbers(dtype, 6))),
      await errorCheck('zero after dispose', 'disposed', () => memory.zero(tensor)),
      await errorCheck('reshape after dispose', 'disposed', () => memory.reshape(tensor, [6])),
    ]
  },
}

/** Runs one of `memoryChecks`. */
export function checkMemoryCase(backend: AttentionBackend, name: string, dtype: DType): Promise<TensorCheck[]> {
  return memoryChecks[name](backend.memory, dtype)
}

function numbers(dtype: DType, count: number, seed = 1): HostArray {
  const random = new RandomStream(seed)
  if (dtype === 'i32') return Int32Array.from({ length: count }, () => random.integer() | 0)
  return Float32Array.from({ length: count }, () => random.normal() * 2 ** (random.below(20) - 10))
}

function stored(data: HostArray, dtype: DType): HostArray {
  return dtype === 'i32' ? data : rounded(data, dtype)
}

/** Halfway cases of both 16-bit types, the largest and smallest numbers, and the special ones. */
function rounding(): Float32Array {
  const halfway = [1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 1 + 2 ** -11 + 2 ** -20, 2 ** -25, 3 * 2 ** -25, 2 ** -24]
  const special = [0, 65504, 65519, 65520, 3.3e38, 1e-4, 6.1e-5, Number.POSITIVE_INFINITY, Number.NaN]
  return Float32Array.from([...halfway, ...special].flatMap((value) => [value, -value]))
}
