import { timing } from '../attention/device-timing.js'
import type { StreamAnswer } from './client-streams.js'
import type { DecodeFigures } from './serve-result.js'
import type { WatchedStep } from './step-watch.js'

/**
 * What a row's streams decoded while all of them were under way.
 * @param warmUp tokens of each stream that come before the window
 * @throws RangeError where the streams were never under way together
 */
export function decodeWindow(answers: readonly StreamAnswer[], steps: readonly WatchedStep[], warmUp: number): DecodeFigures {
  const start = Math.max(...answers.map(({ times }) => times[warmUp - 1] ?? Number.POSITIVE_INFINITY))
  const end = Math.min(...answers.map(({ times }) => times.at(-1) ?? 0))
  const within = (time: number) => start < time && time <= end
  const tokens = answers.reduce((sum, { times }) => sum + times.filter(within).length, 0)
  if (tokens === 0) throw new RangeError('the streams were never under way together; ask for more tokens of each.')
  const milliseconds = end - start
  const seen = steps.filter(({ at }) => within(at))
  const rates = { tokens, milliseconds, tokensPerSecond: (tokens / milliseconds) * 1e3 }
  if (seen.length < 2) return rates
  return {
    ...rates,
    step: timing(seen.slice(1).map(({ at }, index) => at - seen[index].at)),
    device: timing(seen.map(({ device }) => device)),
    host: timing(seen.map(({ host }) => host)),
    idle: timing(seen.slice(0, -1).map(({ idle }) => idle)),
  }
}
