import { ExitCode } from './exit-code.js'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/**
 * Ctrl-C and SIGTERM: the first asks for a clean stop through `signal`, the second ends the process at once. Long work checks `signal`
 * between steps and calls `breathe`, because a backend that computes on this thread would otherwise never let a signal in.
 */
export class Interruption {
  readonly #controller = new AbortController()
  readonly #note: string
  readonly #listener = () => {
    if (this.#controller.signal.aborted) process.exit(ExitCode.interrupted)
    process.stderr.write(`\nphsa: ${this.#note}; press Ctrl-C again to quit at once.\n`)
    this.#controller.abort()
  }

  /** @param note what is said at the first signal */
  constructor(note = 'stopping after the current step') {
    this.#note = note
    for (const signal of SIGNALS) process.on(signal, this.#listener)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get requested(): boolean {
    return this.#controller.signal.aborted
  }

  /** Whether this error is the signal's reason, thrown by work that watched it. */
  caused(error: unknown): boolean {
    return this.requested && error === this.signal.reason
  }

  /** Lets timers and signals in. */
  async breathe(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve))
  }

  dispose(): void {
    for (const signal of SIGNALS) process.off(signal, this.#listener)
  }
}

/** Runs with an interruption that is taken down afterwards. */
export async function interruptible<T>(run: (interruption: Interruption) => Promise<T>, note?: string): Promise<T> {
  const interruption = new Interruption(note)
  try {
    return await run(interruption)
  } finally {
    interruption.dispose()
  }
}
