import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Group } from '../../src/collective/group.js'
import { groupPlace } from '../../src/collective/group-place.js'
import { joinGroup } from '../../src/collective/join-group.js'
import { freePort } from './free-port.js'

const ID = Uint8Array.of(1, 2, 3)

async function joiner(size: number, more: { joinSeconds?: number; timeoutSeconds?: number } = {}) {
  const port = await freePort()
  return {
    port,
    join: (rank: number, change: { size?: number } = {}) => joinGroup(groupPlace({ rank, size, port, ...more, ...change }), () => ID),
  }
}

function leaveAll(groups: readonly Group[]): void {
  for (const group of groups) group.leave()
}

/** Somebody who says one line. */
function stranger(port: number, text: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(text)
      resolve(socket)
    })
    socket.on('error', reject)
  })
}

test('ranks join in any order, and all have what rank 0 shares', async () => {
  const { join } = await joiner(4)
  const later = sleep(150).then(() => join(0))
  const groups = await Promise.all([join(2), join(3), later, join(1)])
  for (const group of groups) expect([...group.shared]).toEqual([...ID])
  leaveAll(groups)
})

test('rank 0 names who is missing, and who has come is told', async () => {
  const { join } = await joiner(4, { joinSeconds: 0.4 })
  const [hub, member] = await Promise.allSettled([join(0), join(2)])
  const expected = {
    status: 'rejected',
    reason: { code: 'backend-unavailable', message: expect.stringMatching(/ranks 1, 3 of 4 did not join at 127.0.0.1:\d+ within 0.4 s/) },
  }
  expect(hub).toMatchObject(expected)
  expect(member).toMatchObject({ status: 'rejected', reason: { code: 'backend-unavailable' } })
})

test('rank 0 that is not there', async () => {
  const { join } = await joiner(2, { joinSeconds: 0.3 })
  await expect(join(1)).rejects.toThrow(/rank 0 was not reached at 127.0.0.1:\d+ within 0.3 s \(.*ECONNREFUSED/)
})

test('a port that is taken', async () => {
  const { join } = await joiner(3, { joinSeconds: 0.5 })
  const results = await Promise.allSettled([join(0), join(0)])
  expect(results).toContainEqual(
    expect.objectContaining({
      reason: expect.objectContaining({ message: expect.stringMatching(/cannot listen on port \d+: .*EADDRINUSE/) }),
    }),
  )
})

test('a rank twice, another size and strangers do not disturb the others', async () => {
  const { join, port } = await joiner(3)
  const first = join(0)
  const second = join(1)
  await sleep(100)
  await stranger(port, 'GET / HTTP/1.1\n\n')
  await stranger(port, `{"kind":"hello","protocol":"other","rank":2,"size":3}\n`)
  const silent = await stranger(port, '')
  await expect(join(1)).rejects.toThrow('rank 1 has joined already')
  await expect(join(2, { size: 4 })).rejects.toThrow('rank 0 expects a group of 3, this rank one of 4')
  leaveAll(await Promise.all([first, second, join(2)]))
  silent.destroy()
})

test('a rank that fails is named to all', async () => {
  const { join } = await joiner(3)
  const groups = await Promise.all([join(0), join(1), join(2)])
  groups[2].fail('rank 2 of 3: out of luck')
  expect(await Promise.all(groups.map(({ failed }) => failed))).toEqual(Array(3).fill('rank 2 of 3: out of luck'))
})

test('a rank that leaves has not failed', async () => {
  const { join } = await joiner(3)
  const groups = await Promise.all([join(0), join(1), join(2)])
  groups[1].leave()
  groups[1].leave()
  await sleep(50)
  expect(groups.map(({ whoLeft }) => whoLeft)).toEqual([1, undefined, 1])
  groups[0].leave()
  await sleep(50)
  expect(await Promise.race([groups[2].failed, 'nothing failed'])).toBe('nothing failed')
  groups[2].leave()
})

test('a rank that is silent has failed', async () => {
  const { join, port } = await joiner(3, { timeoutSeconds: 0.4 })
  const groups = [join(0), join(1)]
  await sleep(100)
  const silent = await stranger(port, '{"kind":"hello","protocol":"phsa-group-1","rank":2,"size":3}\n')
  const [hub, member] = await Promise.all(groups)
  expect(await hub.failed).toBe('rank 2 of 3 was not heard of for 0.4 s')
  expect(await member.failed).toBe('rank 2 of 3 was not heard of for 0.4 s')
  silent.destroy()
})
