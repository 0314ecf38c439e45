/** A round accepts a single connection, and hundreds may come at once. */
const ROUNDS = 16

/**
 * Calls back when the event loop has gone round some times, which takes microseconds where nothing else happens. Between pieces of work that take
 * milliseconds connections are accepted, and what is quick is answered.
 */
export function afterRounds(next: () => void, rounds = ROUNDS): void {
  setImmediate(rounds > 1 ? () => afterRounds(next, rounds - 1) : next)
}
