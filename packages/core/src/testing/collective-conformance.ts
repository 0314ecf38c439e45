import type { AttentionBackend } from '../contract/attention-backend.js'
import type { Collective, ModelBackend } from '../contract/model-backend.js'
import type { ConformanceCase } from './conformance-case.js'
import { errorCheck } from './error-check.js'
import { booleanCheck, constantCheck, type TensorCheck } from './tensor-check.js'

const DTYPES = ['f32', 'bf16'] as const
const COUNT = 1000

/** Whether a backend is a group of one: sums over several ranks take several processes. */
export function isAlone(backend: AttentionBackend): backend is AttentionBackend & Required<Pick<ModelBackend, 'collective'>> {
  const { collective } = backend as Partial<ModelBackend>
  return collective?.size === 1
}

/** All-reduce of a group of one; only for backends in such a group. */
export function collectiveConformance(): ConformanceCase[] {
  return DTYPES.map((dtype) => ({
    name: `${dtype}/collective/alone`,
    dtype,
    needs: 'attention',
    part: 'collective',
    specs: [],
    flops: 0,
    run: ({ backend }) => checkAlone(backend, dtype),
  }))
}

async function checkAlone(backend: AttentionBackend, dtype: (typeof DTYPES)[number]): Promise<TensorCheck[]> {
  if (!isAlone(backend)) throw new TypeError(`${backend.name} is in no group of one; a case that needs that must say so.`)
  const { memory } = backend
  const collective: Collective = backend.collective
  const before = memory.usage()
  const filled = (value: number) => memory.upload(new Float32Array(COUNT).fill(value), [COUNT], dtype)
  const kept = filled(3)
  const { ticket, inside } = memory.scope(() => {
    const inside = filled(4)
    const ticket = collective.allReduce([kept, inside, memory.alloc([0], dtype)])
    return { ticket, inside: memory.reshape(inside, [COUNT]) }
  })
  const pending = memory.usage().tensors - before.tensors
  inside.dispose()
  // The memory of a tensor under way is nobody else's.
  const other = filled(5)
  ticket.wait()
  ticket.wait()
  const values = [await memory.download(kept), await memory.download(other)]
  const gone = filled(6)
  gone.dispose()
  const checks = [
    booleanCheck('rank and size', collective.rank === 0 && collective.size === 1),
    booleanCheck('tensors live until the wait', pending >= 2, `${pending} are alive`),
    constantCheck('the sum over one', values[0], 3),
    constantCheck('a tensor made meanwhile', values[1], 5),
    await errorCheck('a disposed tensor', 'disposed', () => collective.allReduce([gone])),
  ]
  for (const tensor of [kept, other]) tensor.dispose()
  const after = memory.usage()
  return [...checks, booleanCheck('nothing is left', after.tensors === before.tensors && after.bytes === before.bytes)]
}
