import { type Collective, reference, type Tensor } from '@phsa/core'
import { expect, test } from 'vitest'
import { GradientSums } from '../../src/parallel/gradient-sums.js'
import { RankGroup } from '../../src/parallel/rank-group.js'

const SHAPES = { embedding: [100], first: [10], second: [10, 2], norm: [3] }

async function setUp() {
  const backend = await reference()
  const gradients = new Map<string, Tensor>(Object.entries(SHAPES).map(([name, shape]) => [name, backend.memory.alloc(shape, 'f32')]))
  const nameOf = (tensor: Tensor) => [...gradients].find(([, gradient]) => gradient === tensor)?.[0] ?? 'scalar'
  const calls: string[] = []
  const collective: Collective = {
    rank: 0,
    size: 2,
    allReduce(tensors) {
      const names = tensors.map(nameOf).join(' ')
      calls.push(`sum ${names}`)
      return { wait: () => void calls.push(`wait ${names}`) }
    },
  }
  return { backend, gradients, collective, calls }
}

test('a bucket goes on its way when it is full, and all are waited for at the end', async () => {
  const { backend, gradients, collective, calls } = await setUp()
  // 30 elements of 4 bytes.
  const sums = new GradientSums(collective, gradients, 120)
  sums.take(['norm'])
  sums.take(['second', 'first'])
  expect(calls).toEqual(['sum norm second first'])
  sums.take(['embedding'])
  expect(calls).toHaveLength(2)
  const loss = backend.memory.upload(Float32Array.of(2), [1])
  const [summed] = backend.memory.scope(() => sums.finish([loss], backend.memory))
  expect(calls.slice(1)).toEqual(['sum embedding', 'sum scalar', 'wait norm second first', 'wait embedding', 'wait scalar'])
  // The rank's own loss is still there.
  expect(summed).not.toBe(loss)
  expect(await backend.memory.download(summed)).toEqual(Float32Array.of(2))
  backend.dispose()
})

test('a gradient that nobody named is summed at the end, one that is named twice once', async () => {
  const { backend, gradients, collective, calls } = await setUp()
  const sums = new GradientSums(collective, gradients)
  sums.take(['norm', 'norm', 'of another model'])
  expect(backend.memory.scope(() => sums.finish([], backend.memory))).toEqual([])
  expect(calls).toEqual(['sum norm embedding first second', 'wait norm embedding first second'])
  backend.dispose()
})

test('a group of one tells itself, without the device', async () => {
  const { memory } = await reference()
  const group = new RankGroup({ memory })
  expect(await group.gather([1, Number.NaN])).toEqual([Float64Array.of(1, Number.NaN)])
  expect([await group.any(true), await group.any(false), group.own(3)]).toEqual([true, false, [0, 1, 2]])
  expect(memory.usage().tensors).toBe(0)
})

test('micro-batches are dealt out by their number alone', async () => {
  const { memory } = await reference()
  const of = (rank: number, size: number) => new RankGroup({ memory, collective: { rank, size, allReduce: () => ({ wait: () => {} }) } })
  expect([of(0, 3).own(7), of(1, 3).own(7), of(2, 3).own(7)]).toEqual([
    [0, 3, 6],
    [1, 4],
    [2, 5],
  ])
  expect(of(1, 2).own(2)).toEqual(of(1, 2).own(8).slice(0, 1))
})
