import type { Timing } from '../attention/device-result.js'
import { timing } from '../attention/device-timing.js'

/** Milliseconds of queued calls between two waits: so many that a wait, of tens of microseconds, does not count. */
const ROUND = 25
const MOST_CALLS = 200
/** What takes longer is run once: it does not compile for as long as this, and has run before. */
const SLOW = 2500
/** Rounds of what takes so many milliseconds at most. */
const ROUNDS = [
  { below: 100, rounds: 5 },
  { below: 700, rounds: 3 },
  { below: Number.POSITIVE_INFINITY, rounds: 1 },
] as const

/**
 * Wall time of a call, by rounds of as many queued calls as take 25 ms. The first call, which may compile, does not count, but where it takes seconds.
 * @param finish resolves when everything that is queued is done
 * @param now milliseconds of a clock
 */
export async function timeCalls(finish: () => Promise<void>, call: () => void, now = () => performance.now()): Promise<Timing> {
  const round = async (calls: number) => {
    const started = now()
    for (let index = 0; index < calls; index++) call()
    await finish()
    return (now() - started) / calls
  }
  const first = await round(1)
  if (first > SLOW) return timing([first])
  const once = await round(1)
  const rounds = ROUNDS.find(({ below }) => once < below)?.rounds ?? 1
  const calls = Math.max(1, Math.min(MOST_CALLS, Math.ceil(ROUND / once)))
  if (rounds === 1) return timing([once])
  await round(calls)
  const samples: number[] = []
  for (let index = 0; index < rounds; index++) samples.push(await round(calls))
  return timing(samples)
}
