import type { GroupPlace } from './group-place.js'
import type { GroupMessage, MessageSocket } from './message-socket.js'

/** A rank is asked after so often within the time after which it counts as silent. */
const BEATS = 5
/** The most time between two beats, milliseconds. */
const MOST_BETWEEN = 2000

/**
 * The processes of a group after they have joined: who is alive is known by the connection to rank 0, which passes on what fails. One that ends without a
 * word is noticed at once, one that hangs, or whose machine is gone, after `timeoutSeconds`.
 */
export class Group {
  readonly place: GroupPlace
  /** What rank 0 handed to all. */
  readonly shared: Uint8Array
  /** Settles with the reason when a rank fails; never rejects, pending otherwise. */
  readonly failed: Promise<string>
  readonly #peers: ReadonlyMap<number, MessageSocket>
  readonly #left = new Set<number>()
  readonly #settle: (reason: string) => void
  readonly #timer: NodeJS.Timeout
  #isOver = false
  #lastLook = performance.now()

  /** @param peers connections by rank: of rank 0 to all, of the others to rank 0 */
  constructor(place: GroupPlace, peers: ReadonlyMap<number, MessageSocket>, shared: Uint8Array) {
    this.place = place
    this.shared = shared
    this.#peers = peers
    let settle: (reason: string) => void = () => {}
    this.failed = new Promise((resolve) => {
      settle = resolve
    })
    this.#settle = settle
    const between = Math.min(MOST_BETWEEN, (1000 * place.timeoutSeconds) / BEATS)
    this.#timer = setInterval(() => this.#look(between), between)
    this.#timer.unref()
    for (const [rank, peer] of peers) {
      peer.unref()
      peer.listen((message) => this.#hear(message, rank))
      peer.onClose(() => this.#closed(rank))
    }
  }

  /** The first rank that ended in good order; no operation of the group can complete without it. */
  get whoLeft(): number | undefined {
    const [first] = this.#left
    return first
  }

  /** Tells all that the group has failed; a second reason is not heard. */
  fail(reason: string): void {
    if (this.#isOver) return
    this.#end({ kind: 'failed', reason })
    this.#settle(reason)
  }

  /** Leaves in good order. Leaving twice is allowed. */
  leave(): void {
    if (!this.#isOver) this.#end({ kind: 'left', rank: this.place.rank })
  }

  #end(last: GroupMessage): void {
    this.#isOver = true
    clearInterval(this.#timer)
    for (const peer of this.#peers.values()) {
      peer.send(last)
      peer.end()
    }
  }

  #hear(message: GroupMessage, rank: number): void {
    if (message.kind === 'failed') this.fail(message.reason)
    if (message.kind !== 'left') return
    this.#left.add(message.rank)
    for (const [other, peer] of this.#peers) if (other !== rank) peer.send(message)
  }

  #closed(rank: number): void {
    if (!this.#left.has(rank)) this.fail(`rank ${rank} of ${this.place.size} ended, or its connection was lost`)
  }

  #look(between: number): void {
    const now = performance.now()
    const wasAway = now - this.#lastLook > 2 * between
    this.#lastLook = now
    for (const [rank, peer] of this.#peers) {
      peer.send({ kind: 'beat' })
      // Where this thread was busy, what came meanwhile is not read yet.
      if (wasAway || this.#left.has(rank) || peer.silence < 1000 * this.place.timeoutSeconds) continue
      this.fail(`rank ${rank} of ${this.place.size} was not heard of for ${this.place.timeoutSeconds} s`)
    }
  }
}
