import type { QueueTimer } from '@phsa/kernels-cuda'
import { timing } from '../attention/device-timing.js'
import type { MatrixRate } from './matrix-rate.js'
import type { ClassTime, RunTimes } from './model-result.js'
import type { TimedBackend } from './timed-backend.js'

/** Runs of what takes so many milliseconds at most. */
const RUNS = [
  { below: 100, runs: 10 },
  { below: 1000, runs: 4 },
  { below: Number.POSITIVE_INFINITY, runs: 1 },
] as const
/** How much further the host is let ahead than it needs at its usual pace, and for what it does before its first call. */
const HEADROOM = { factor: 1.5, milliseconds: 50 }

/** How often something is run that took so long the first time. */
export function runsFor(milliseconds: number): number {
  return RUNS.find(({ below }) => milliseconds < below)?.runs ?? 1
}

/** Times what `run` queues, run after run without waiting. One warms up, the next one says how many there can be, and counts only where it is slow. */
export function timeQueued({ timed, timer }: { timed: TimedBackend; timer: QueueTimer }, tokens: number, run: () => void): RunTimes {
  const series = (runs: number) => {
    const host: number[] = []
    // Not timed: while the GPU does it the host gets ahead.
    run()
    timer.mark()
    for (let index = 0; index < runs; index++) {
      timed.takeHost()
      run()
      host.push(timed.takeHost())
      timer.mark()
    }
    return { samples: [...timer.read()], host }
  }
  const once = series(1)
  const runs = runsFor(once.samples[0])
  const { samples, host } = runs === 1 ? once : series(runs)
  const elapsed = timing(samples)
  return { elapsed, hostMilliseconds: Math.min(...host), tokensPerSecond: (tokens / elapsed.milliseconds) * 1e3 }
}

/** Times steps that end with a download, by the host's clock. @param step resolves when its numbers have arrived */
export async function timeSteps(timed: TimedBackend, tokens: number, runs: number, step: () => Promise<unknown>): Promise<RunTimes> {
  const samples: number[] = []
  const host: number[] = []
  const before: number[] = []
  for (let index = 0; index < runs; index++) {
    timed.takeHost()
    const started = performance.now()
    await step()
    samples.push(performance.now() - started)
    before.push(timed.lastCall() - started)
    host.push(timed.takeHost())
  }
  const elapsed = timing(samples)
  return {
    elapsed,
    hostMilliseconds: Math.min(...host),
    hostUntilQueued: Math.min(...before),
    tokensPerSecond: (tokens / elapsed.milliseconds) * 1e3,
  }
}

/** One run by classes of calls. @param hostMilliseconds what its calls take the host */
export async function timeClasses(
  timed: TimedBackend,
  rate: MatrixRate,
  hostMilliseconds: number,
  run: () => unknown,
): Promise<Record<string, ClassTime>> {
  rate.occupy(hostMilliseconds * HEADROOM.factor + HEADROOM.milliseconds)
  timed.begin()
  await run()
  return timed.end()
}
