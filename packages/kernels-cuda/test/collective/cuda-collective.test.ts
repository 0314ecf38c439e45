import { expect, test, vi } from 'vitest'
import { groupPlace } from '../../src/collective/group-place.js'
import type { CudaBackend } from '../../src/cuda-backend.js'
import { openBackend } from '../../src/open-backend.js'
import { FakeDriver, fakeArchive } from '../fake-driver.js'
import { FakeNccl, type FakeWire } from './fake-nccl.js'
import { freePort } from './free-port.js'

interface Rank {
  readonly backend: CudaBackend
  readonly driver: FakeDriver
  readonly nccl: FakeNccl
}

/** A group in one process. */
async function ranks(size: number, timeoutSeconds = 30): Promise<Rank[]> {
  const port = await freePort()
  const wire: FakeWire = new Map()
  return Promise.all(
    Array.from({ length: size }, async (_, rank) => {
      const archive = fakeArchive()
      const driver = new FakeDriver({}, archive)
      const nccl = new FakeNccl((address, bytes) => driver.memory.at(address, bytes), wire)
      const backend = openBackend(driver, archive, 0)
      await backend.join({ place: groupPlace({ rank, size, port, timeoutSeconds }), findNccl: () => nccl })
      return { backend, driver, nccl }
    }),
  )
}

const lost = (message: RegExp) => expect.objectContaining({ code: 'backend-lost', message: expect.stringMatching(message) })

test('tensors are summed over all ranks, as one operation', async () => {
  const group = await ranks(3)
  const held = group.map(({ backend: { memory } }, rank) => [
    memory.upload(Float32Array.of(1, rank), [2]),
    memory.upload(Float32Array.of(10 * rank), [1]),
    memory.alloc([0], 'f32'),
  ])
  const tickets = group.map(({ backend, nccl }, rank) => {
    nccl.calls.length = 0
    const ticket = backend.collective!.allReduce(held[rank])
    expect(nccl.calls).toEqual(['ncclGroupStart', 'ncclAllReduce', 'ncclAllReduce', 'ncclGroupEnd'])
    return ticket
  })
  for (const [rank, { backend }] of group.entries()) {
    tickets[rank].wait()
    expect(await backend.memory.download(held[rank][0])).toEqual(Float32Array.of(3, 3))
    expect(await backend.memory.download(held[rank][1])).toEqual(Float32Array.of(30))
    expect([backend.collective!.rank, backend.collective!.size]).toEqual([rank, 3])
  }
  for (const { backend } of group) backend.dispose()
})

test('a transfer follows what was queued before it, and what is queued after the wait follows it', async () => {
  const [{ backend, driver }, other] = await ranks(2)
  const tensor = backend.memory.alloc([4], 'f32')
  const since = driver.calls.length
  const calls = () => driver.calls.slice(since).filter((call) => call !== 'cuCtxSetCurrent')
  const ticket = backend.collective!.allReduce([tensor])
  expect(calls()).toEqual(['cuEventCreate', 'cuEventRecord', 'cuStreamWaitEvent', 'cuEventRecord'])
  ticket.wait()
  ticket.wait()
  expect(calls().slice(4)).toEqual(['cuStreamWaitEvent'])
  backend.collective!.allReduce([tensor]).wait()
  expect(driver.calls.slice(since).filter((call) => call === 'cuEventCreate')).toHaveLength(1)
  for (const each of [backend, other.backend]) each.dispose()
})

test('tensors live until the wait, whatever becomes of them', async () => {
  const [{ backend }, other] = await ranks(2)
  const { memory } = backend
  const before = memory.usage()
  const ticket = memory.scope(() => backend.collective!.allReduce([memory.alloc([1000], 'f32')]))
  expect(memory.usage().tensors).toBe(before.tensors + 1)
  ticket.wait()
  expect(memory.usage()).toEqual(before)
  for (const each of [backend, other.backend]) each.dispose()
})

test('a rank that fails loses all with its name, and aborts their transfers', async () => {
  const group = await ranks(3)
  group[1].nccl.states.push(6)
  const reason = /^the group has failed: rank 1 of 3: ncclAllReduce: error 6 \(what happened\)\. Dispose the backend/
  expect(() => group[1].backend.collective!.allReduce([group[1].backend.memory.alloc([1], 'f32')])).toThrow(lost(reason))
  for (const { backend, nccl } of group) {
    expect(await backend.lost).toEqual(lost(reason))
    expect(nccl.calls.filter((call) => call === 'ncclCommAbort')).toHaveLength(1)
    expect(() => backend.memory.alloc([1], 'f32')).toThrow(lost(reason))
    backend.dispose()
  }
})

test('a download that is under way when the group fails does not arrive', async () => {
  const [first, other] = await ranks(2)
  // The aborted transfer lets the GPU go on, and the copy comes.
  vi.spyOn(first.driver, 'cuEventSynchronizeAsync').mockImplementation(async () => {
    await first.backend.lost
    return 0
  })
  const tensor = first.backend.memory.alloc([1], 'f32')
  first.driver.isBusy = true
  const pending = first.backend.memory.download(tensor)
  other.nccl.states.push(6)
  expect(() => other.backend.collective!.allReduce([other.backend.memory.alloc([1], 'f32')])).toThrow(lost(/rank 1 of 2/))
  await expect(pending).rejects.toThrow(lost(/rank 1 of 2/))
  for (const { backend } of [first, other]) backend.dispose()
})

test('an error that NCCL meets by itself is found', async () => {
  const group = await ranks(2)
  vi.spyOn(group[0].nccl, 'ncclCommGetAsyncError').mockImplementation((_, result) => {
    result[0] = 6
    return 0
  })
  for (const { backend } of group) {
    expect(await backend.lost).toEqual(lost(/rank 0 of 2: a transfer: error 6/))
    backend.dispose()
  }
})

test('a call that would block waits for transfers no longer than the group allows', async () => {
  const [first, other] = await ranks(2, 0.3)
  vi.spyOn(first.driver, 'cuStreamQuery').mockReturnValue(600)
  const { memory } = first.backend
  memory.alloc([1000], 'f32').dispose()
  expect(() => memory.alloc([2 ** 28 - 100], 'f32')).toThrow(lost(/rank 0 of 2: an allReduce did not end within 0.3 s/))
  expect(await other.backend.lost).toEqual(lost(/rank 0 of 2/))
  for (const { backend } of [first, other]) backend.dispose()
})

test('a sum that a rank left before it was done is not waited for as one that a busy rank comes to', async () => {
  const [first, other] = await ranks(2)
  for (const query of ['cuStreamQuery', 'cuEventQuery'] as const) vi.spyOn(first.driver, query).mockReturnValue(600)
  first.backend.collective!.allReduce([first.backend.memory.alloc([1], 'f32')])
  other.backend.dispose()
  // It looks twice a second, the first time to see that there is something to wait for.
  await new Promise((resolve) => setTimeout(resolve, 600))
  const now = performance.now.bind(performance)
  const later = vi.spyOn(performance, 'now').mockImplementation(() => now() + 11_000)
  const error = await first.backend.lost
  later.mockRestore()
  expect(error).toEqual(lost(/rank 0 of 2: rank 1 of 2 has left the group, and an allReduce waits for it/))
  first.backend.dispose()
})

test('other ranks that do not take part', async () => {
  const [first, other] = await ranks(2, 0.2)
  vi.spyOn(first.nccl, 'ncclCommGetAsyncError').mockImplementation((_, result) => {
    result[0] = 7
    return 0
  })
  const tensor = first.backend.memory.alloc([1], 'f32')
  expect(() => first.backend.collective!.allReduce([tensor])).toThrow(lost(/other ranks did not take part within 0.2 s/))
  for (const { backend } of [first, other]) backend.dispose()
})

test('nothing is left of a group that was disposed, and a sum over a group that somebody left fails', async () => {
  const [first, other] = await ranks(2)
  first.backend.dispose()
  first.backend.dispose()
  await vi.waitFor(() => expect(first.driver.contexts).toBe(0))
  expect(first.nccl.calls.slice(-2)).toEqual(['ncclCommFinalize', 'ncclCommDestroy'])
  expect([first.driver.streams.size, first.driver.events.size, first.driver.deviceBytes]).toEqual([0, 0, 0])
  const tensor = other.backend.memory.alloc([1], 'f32')
  expect(() => other.backend.collective!.allReduce([tensor])).toThrow(lost(/rank 0 of 2 has left the group/))
  other.backend.dispose()
})

test('inside of a recorded step there is no sum over ranks', async () => {
  const [first, other] = await ranks(2)
  const tensor = first.backend.memory.alloc([1], 'f32')
  await expect(first.backend.capture(() => void first.backend.collective!.allReduce([tensor]))).rejects.toMatchObject({ code: 'capture' })
  for (const { backend } of [first, other]) backend.dispose()
})

test('a group of one needs no NCCL', async () => {
  const archive = fakeArchive()
  const backend = openBackend(new FakeDriver({}, archive), archive, 0)
  const findNccl = vi.fn()
  await backend.join({ place: groupPlace({ rank: 0, size: 1 }), findNccl })
  const tensor = backend.memory.upload(Float32Array.of(5), [1])
  backend.collective!.allReduce([tensor]).wait()
  expect(await backend.memory.download(tensor)).toEqual(Float32Array.of(5))
  expect(findNccl).not.toHaveBeenCalled()
  backend.dispose()
})

test('ranks that NCCL does not connect are not waited for without end', async () => {
  const port = await freePort()
  const joined = [0, 1].map(async (rank) => {
    const archive = fakeArchive()
    const driver = new FakeDriver({}, archive)
    const nccl = new FakeNccl((address, bytes) => driver.memory.at(address, bytes))
    nccl.states.push(...Array<number>(10_000).fill(7))
    const place = groupPlace({ rank, size: 2, port, joinSeconds: 0.3 })
    await openBackend(driver, archive, 0).join({ place, findNccl: () => nccl })
  })
  for (const result of await Promise.allSettled(joined)) {
    expect(result).toMatchObject({
      reason: { code: 'backend-unavailable', message: expect.stringMatching(/not all ranks were connected within 0.3 s/) },
    })
  }
})

test('a rank that cannot connect is named to the others, which do not wait', async () => {
  const port = await freePort()
  const joined = [0, 1].map(async (rank) => {
    const archive = fakeArchive()
    const driver = new FakeDriver({}, archive)
    const nccl = new FakeNccl((address, bytes) => driver.memory.at(address, bytes))
    // Rank 0 waits for rank 1 as long as it takes.
    nccl.states.push(...(rank === 1 ? [5] : Array<number>(100_000).fill(7)))
    await openBackend(driver, archive, 0).join({ place: groupPlace({ rank, size: 2, port }), findNccl: () => nccl })
  })
  const [hub, member] = await Promise.allSettled(joined)
  expect(member).toMatchObject({
    reason: {
      code: 'backend-unavailable',
      message: expect.stringMatching(/rank 1 of 2 could not join the group: ncclCommInitRankConfig: error 5/),
    },
  })
  expect(hub).toMatchObject({
    reason: { message: expect.stringMatching(/rank 0 of 2 could not join the group: rank 1 of 2 could not connect/) },
  })
})

test('nor does anyone wait for a rank whose first transfer fails', async () => {
  const port = await freePort()
  const libraries: FakeNccl[] = []
  const joined = [0, 1].map(async (rank) => {
    const archive = fakeArchive()
    const driver = new FakeDriver({}, archive)
    const nccl = new FakeNccl((address, bytes) => driver.memory.at(address, bytes))
    libraries[rank] = nccl
    // Both are connected; then rank 0 waits for the other as long as it takes.
    nccl.states.push(0, ...(rank === 1 ? [5] : Array<number>(100_000).fill(7)))
    await openBackend(driver, archive, 0).join({ place: groupPlace({ rank, size: 2, port }), findNccl: () => nccl })
  })
  const [hub, member] = await Promise.allSettled(joined)
  expect(member).toMatchObject({
    reason: { message: expect.stringMatching(/rank 1 of 2 could not join the group: ncclAllReduce: error 5/) },
  })
  expect(hub).toMatchObject({ reason: { message: expect.stringMatching(/rank 1 of 2 could not connect: ncclAllReduce: error 5/) } })
  for (const { calls } of libraries) {
    expect(calls).toContain('ncclCommAbort')
    expect(calls).not.toContain('ncclCommFinalize')
  }
})
