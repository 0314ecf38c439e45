import { afterRounds } from '../after-rounds.js'

/**
 * One caller goes on at a time, and the event loop goes round in between. A burst of requests, worked as it arrives, would hold up everything that comes
 * meanwhile, also who only asks for the health of the server.
 */
export class RequestTurns {
  readonly #waiting: (() => void)[] = []
  #isTaken = false

  /** Resolves when it is the caller's turn, in the order of asking. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isTaken) this.#waiting.push(resolve)
      else this.#give(resolve)
    })
  }

  #give(turn: () => void): void {
    this.#isTaken = true
    turn()
    afterRounds(() => {
      const next = this.#waiting.shift()
      if (next) this.#give(next)
      else this.#isTaken = false
    })
  }
}
