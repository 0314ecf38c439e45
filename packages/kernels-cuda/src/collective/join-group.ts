import { connect, createServer, type Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { BackendUnavailableError } from '@phsa/core'
import { Group } from './group.js'
import type { GroupPlace } from './group-place.js'
import { MessageSocket } from './message-socket.js'

/** Changes with every incompatible change of the messages. */
const PROTOCOL = 'phsa-group-1'
/** Between two tries to reach rank 0, milliseconds. */
const RETRY = 100
/** Rank 0 decides when the time is up, and knows who is missing: the others wait a little longer. Milliseconds. */
const GRACE = 5000
const LOOPBACK = ['127.0.0.1', '::1', 'localhost']

/**
 * Joins the processes of a group over TCP: rank 0 listens, the others connect and are told what all share. Resolves when everybody is there.
 * @param share makes what rank 0 hands to all, up to 2 KB
 * @throws BackendUnavailableError naming who is missing
 */
export async function joinGroup(place: GroupPlace, share: () => Uint8Array): Promise<Group> {
  return place.rank === 0 ? gather(place, share()) : enter(place)
}

async function gather(place: GroupPlace, shared: Uint8Array): Promise<Group> {
  const { size, joinSeconds, address, port } = place
  const members = new Map<number, MessageSocket>()
  const knocking = new Set<MessageSocket>()
  const server = createServer()
  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (reason: string, cause?: unknown) => {
        clearTimeout(timer)
        for (const member of members.values()) {
          member.send({ kind: 'refused', reason })
          member.end()
        }
        reject(new BackendUnavailableError(`cuda: ${reason}`, { cause }))
      }
      const timer = setTimeout(() => {
        const missing = Array.from({ length: size }, (_, rank) => rank).filter((rank) => rank > 0 && !members.has(rank))
        fail(
          `${missing.length === 1 ? 'rank' : 'ranks'} ${missing.join(', ')} of ${size} did not join at ${address}:${port} within ${joinSeconds} s. Were they started, with the same size, address and port?`,
        )
      }, 1000 * joinSeconds)
      server.on('error', (error) =>
        fail(`rank 0 cannot listen on port ${port}: ${error.message}. Give another collective.port, or end what uses it.`, error),
      )
      server.on('connection', (socket) => {
        const knocker = new MessageSocket(socket)
        knocking.add(knocker)
        knocker.listen((hello) => {
          if (hello.kind !== 'hello') return knocker.close()
          const refusal = refusalOf(hello, size, members)
          if (refusal !== undefined) {
            knocker.send({ kind: 'refused', reason: refusal })
            return knocker.end()
          }
          knocking.delete(knocker)
          members.set(hello.rank, knocker)
          knocker.onClose(() => members.get(hello.rank) === knocker && members.delete(hello.rank))
          if (members.size < size - 1) return
          clearTimeout(timer)
          resolve()
        })
      })
      listen(server, place)
    })
  } finally {
    server.close()
    for (const knocker of knocking) knocker.close()
  }
  for (const member of members.values()) member.send({ kind: 'start', shared: Buffer.from(shared).toString('base64') })
  return new Group(place, members, shared)
}

/** Where all ranks are on one machine, others cannot reach the port. */
function listen(server: Server, { address, port }: GroupPlace): void {
  if (LOOPBACK.includes(address)) server.listen(port, address)
  else server.listen(port)
}

function refusalOf(
  { protocol, rank, size }: { protocol: string; rank: number; size: number },
  expected: number,
  members: ReadonlyMap<number, MessageSocket>,
): string | undefined {
  if (protocol !== PROTOCOL) return `rank 0 speaks ${PROTOCOL}, this rank ${protocol}; install the same version everywhere.`
  if (size !== expected) return `rank 0 expects a group of ${expected}, this rank one of ${size}; give all the same size.`
  if (!Number.isInteger(rank) || rank < 1 || rank >= expected) return `rank ${rank} is not one of 1 to ${expected - 1}.`
  return members.has(rank) ? `rank ${rank} has joined already; give each process a rank of its own.` : undefined
}

async function enter(place: GroupPlace): Promise<Group> {
  const { rank, size, address, port, joinSeconds } = place
  const deadline = performance.now() + 1000 * joinSeconds
  const hub = await reach(place, deadline)
  const shared = await new Promise<Uint8Array>((resolve, reject) => {
    const fail = (reason: string) => {
      clearTimeout(timer)
      hub.close()
      reject(new BackendUnavailableError(`cuda: ${reason}`))
    }
    const timer = setTimeout(
      () => fail(`rank 0 at ${address}:${port} said nothing for ${joinSeconds} s; is it another program?`),
      1000 * joinSeconds + GRACE,
    )
    hub.onClose(() => fail(`rank 0 at ${address}:${port} closed the connection before the group was complete.`))
    hub.listen((message) => {
      if (message.kind === 'refused') fail(message.reason)
      if (message.kind !== 'start') return
      clearTimeout(timer)
      resolve(Buffer.from(message.shared, 'base64'))
    })
    hub.send({ kind: 'hello', protocol: PROTOCOL, rank, size })
  })
  return new Group(place, new Map([[0, hub]]), shared)
}

/** Tries until rank 0 listens. */
async function reach({ address, port, joinSeconds }: GroupPlace, deadline: number): Promise<MessageSocket> {
  for (;;) {
    try {
      return await new Promise((resolve, reject) => {
        const socket = connect(port, address, () => {
          socket.off('error', reject).setTimeout(0)
          resolve(new MessageSocket(socket))
        })
        socket.once('error', reject)
        socket.setTimeout(Math.max(1, deadline - performance.now()), () => socket.destroy(new Error('no answer')))
      })
    } catch (error) {
      if (performance.now() + RETRY > deadline) {
        throw new BackendUnavailableError(
          `cuda: rank 0 was not reached at ${address}:${port} within ${joinSeconds} s (${error instanceof Error ? error.message : String(error)}). Was it started, with this address and port?`,
          { cause: error },
        )
      }
      await sleep(RETRY)
    }
  }
}
