import { SingleBar } from 'cli-progress'
import { formatDuration } from './format.js'
import { isLive } from './is-live.js'
import { inUnit, progressLine } from './progress-line.js'

export interface Progress {
  /** @param note what is worth knowing now: the loss, tokens a second */
  update(done: number, note?: string): void
  /** Leaves the last state on the screen. Stopping twice is allowed. */
  stop(): void
}

export interface ProgressOptions {
  readonly label: string
  /** Number of steps, or of what `unit` says. */
  readonly total: number
  /** What is counted, where it is no steps: KiB for instance. */
  readonly unit?: string
  /** Whether steps take about the same time: then the time left follows the median of the last ones, which a slow one among them does not move. */
  readonly steady?: boolean
  readonly stream?: NodeJS.WriteStream
  /** Seconds between two lines where there is no terminal. */
  readonly interval?: number
  /** Milliseconds; for tests. */
  readonly now?: () => number
}

/** A bar with the time left on a terminal; elsewhere a plain line now and then, without control characters. */
export function startProgress(options: ProgressOptions): Progress {
  const stream = options.stream ?? process.stderr
  return isLive(stream) ? barProgress(options, stream) : lineProgress(options, stream)
}

function barProgress({ label, total, unit, steady, now = Date.now }: ProgressOptions, stream: NodeJS.WriteStream): Progress {
  const bar = new SingleBar({
    format: (_, { value }, { left, note }) => progressLine({ label, done: value, total, unit, left, note }, stream.columns || 80),
    hideCursor: true,
    linewrap: false,
    stream,
    // Ours stops it; its own listener would swallow the second Ctrl-C.
    gracefulExit: false,
  })
  const left = new TimeLeft(now(), steady)
  bar.start(total, 0, { left: '--', note: '' })
  return {
    update: (done, note = '') => bar.update(done, { left: left.after(done, total, now()), note }),
    stop: () => bar.stop(),
  }
}

function lineProgress(
  { label, total, unit, steady, interval = 10, now = Date.now }: ProgressOptions,
  stream: NodeJS.WriteStream,
): Progress {
  const started = now()
  const timeLeft = new TimeLeft(started, steady)
  let printed = Number.NEGATIVE_INFINITY
  let last: { done: number; note: string } | undefined
  const print = (done: number, note: string, isOver = steady) => {
    // All may be counted before all is done, of steps aside: what it took is known at the end.
    const took = isOver ? `, took ${formatDuration((now() - started) / 1000)}` : ''
    const left = done < total ? `, ${timeLeft.after(done, total, now())} left` : took
    stream.write(`${label}: ${done}/${total}${inUnit(unit)}${left}${note ? ` | ${note}` : ''}\n`)
    printed = now()
    if (done < total || isOver) last = undefined
  }
  return {
    update(done, note = '') {
      last = { done, note }
      timeLeft.after(done, total, now())
      if (now() - printed >= interval * 1000) print(done, note)
    },
    stop() {
      if (last) print(last.done, last.note, true)
    },
  }
}

/** Steps whose median is taken. */
const RECENT = 63

/** Seconds left, from the steps seen since the start: a resumed run begins in the middle, so the first report counts as one step. */
class TimeLeft {
  readonly #started: number
  readonly #steady: boolean
  /** Milliseconds a step, of the last reports. */
  readonly #recent: number[] = []
  #base: number | undefined
  #last: { done: number; time: number } | undefined

  constructor(started: number, steady = false) {
    this.#started = started
    this.#steady = steady
  }

  after(done: number, total: number, time: number): string {
    this.#base ??= done - 1
    const seen = done - this.#base
    if (seen <= 0) return '--'
    const last = this.#last ?? { done: this.#base, time: this.#started }
    if (done > last.done) {
      this.#recent.push((time - last.time) / (done - last.done))
      if (this.#recent.length > RECENT) this.#recent.shift()
      this.#last = { done, time }
    }
    const pace = this.#steady ? median(this.#recent) : (time - this.#started) / seen
    return formatDuration((pace * Math.max(0, total - done)) / 1000)
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[values.length >> 1]
}
