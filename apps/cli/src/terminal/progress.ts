import { SingleBar } from 'cli-progress'
import { formatDuration } from './format.js'
import { isLive } from './is-live.js'

export interface Progress {
  /** @param note what is worth knowing now: the loss, tokens a second */
  update(done: number, note?: string): void
  /** Leaves the last state on the screen. Stopping twice is allowed. */
  stop(): void
}

export interface ProgressOptions {
  readonly label: string
  /** Number of steps. */
  readonly total: number
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

function barProgress({ label, total, now = Date.now }: ProgressOptions, stream: NodeJS.WriteStream): Progress {
  const started = now()
  const bar = new SingleBar({
    format: `${label.padEnd(10)} {bar} {value}/{total} | {left} left | {note}`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    hideCursor: true,
    linewrap: false,
    stream,
    // Ours stops it; its own listener would swallow the second Ctrl-C.
    gracefulExit: false,
  })
  const left = new TimeLeft(started)
  bar.start(total, 0, { left: '--', note: '' })
  return {
    update: (done, note = '') => bar.update(done, { left: left.after(done, total, now()), note }),
    stop: () => bar.stop(),
  }
}

function lineProgress({ label, total, interval = 10, now = Date.now }: ProgressOptions, stream: NodeJS.WriteStream): Progress {
  const started = now()
  const timeLeft = new TimeLeft(started)
  let printed = Number.NEGATIVE_INFINITY
  let last: { done: number; note: string } | undefined
  const print = (done: number, note: string) => {
    const left = done < total ? `, ${timeLeft.after(done, total, now())} left` : `, took ${formatDuration((now() - started) / 1000)}`
    stream.write(`${label}: ${done}/${total}${left}${note ? ` | ${note}` : ''}\n`)
    printed = now()
    last = undefined
  }
  return {
    update(done, note = '') {
      last = { done, note }
      timeLeft.after(done, total, now())
      if (now() - printed >= interval * 1000) print(done, note)
    },
    stop() {
      if (last) print(last.done, last.note)
    },
  }
}

/** Seconds left, from the steps seen since the start: a resumed run begins in the middle, so the first report counts as one step. */
class TimeLeft {
  readonly #started: number
  #base: number | undefined

  constructor(started: number) {
    this.#started = started
  }

  after(done: number, total: number, time: number): string {
    this.#base ??= done - 1
    const seen = done - this.#base
    if (seen <= 0) return '--'
    return formatDuration((((time - this.#started) / seen) * Math.max(0, total - done)) / 1000)
  }
}
