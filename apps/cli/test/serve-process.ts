import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { phsaCommand, phsaEnvironment } from './phsa-command.js'

/** What `phsa serve --json` prints when it listens. */
export interface Listening {
  readonly url: string
  readonly model: string
  readonly cacheTokens: number
  readonly limits: { readonly maxTokens: number; readonly maxWaiting: number }
  readonly keys: number
}

/** `phsa serve`, or another command that serves, in a process of its own. */
export class ServeProcess {
  readonly #child: ChildProcess
  /** Exit code, when it has ended. */
  readonly code: Promise<number | null>
  stdout = ''
  stderr = ''

  constructor(args: readonly string[], command: readonly string[] = ['serve', '--backend', 'reference', '--port', '0', '--json']) {
    this.#child = spawn(process.execPath, [...phsaCommand, ...command, ...args], {
      env: { ...process.env, ...phsaEnvironment },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const name of ['stdout', 'stderr'] as const) {
      this.#child[name]?.setEncoding('utf8').on('data', (text: string) => {
        this[name] += text
      })
    }
    this.code = once(this.#child, 'close').then(([code]) => code)
  }

  /** Waits until it listens. @throws Error with stderr where it ends before */
  async listening(): Promise<Listening> {
    await this.printed('\n')
    return JSON.parse(this.stdout)
  }

  /** Waits until stdout has this text. @throws Error with stderr where it ends before */
  async printed(text: string): Promise<void> {
    const ended = this.code.then((code) => {
      throw new Error(`phsa ended with ${code}: ${this.stderr}`)
    })
    // Its end is no failure once it has printed this.
    ended.catch(() => undefined)
    while (!this.stdout.includes(text)) await Promise.race([once(this.#child.stdout!, 'data'), ended])
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }
}
