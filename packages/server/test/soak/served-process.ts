import { type ChildProcess, fork } from 'node:child_process'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { EngineStats, ServerOptions } from '../../src/index.js'

/** How the process is at a moment. */
export interface ServerState {
  readonly stats: EngineStats
  /** After a collection of garbage. */
  readonly heapBytes: number
  readonly residentBytes: number
}

/** What the process is told: `state`, or to drain. */
export type ServedCall = 'state' | 'drain'

/** What it tells. */
export type ServedAnswer =
  | { readonly type: 'listening'; readonly url: string }
  | { readonly type: 'state'; readonly state: ServerState }
  | { readonly type: 'drained'; readonly finished: boolean }

/** Options of a server that can be written down. */
export type ServedOptions = Omit<ServerOptions, 'model' | 'punctuation' | 'attention'>

const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
const threadImports = new URL('../../../../scripts/thread-imports.mjs', import.meta.url).href
const script = fileURLToPath(new URL('serve-folder.ts', import.meta.url))
const tsconfig = fileURLToPath(new URL('../../tsconfig.json', import.meta.url))

/** A server of a model folder on the reference backend, in a process of its own. */
export class ServedProcess {
  readonly url: string
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, url: string) {
    this.#child = child
    this.url = url
  }

  static async start(options: ServedOptions): Promise<ServedProcess> {
    const child = fork(script, [JSON.stringify(options)], {
      execArgv: ['--expose-gc', '--import', tsx, '--import', threadImports],
      env: { ...process.env, TSX_TSCONFIG_PATH: tsconfig },
    })
    const { url } = await answer(child, 'listening')
    return new ServedProcess(child, url)
  }

  async state(): Promise<ServerState> {
    return (await this.#ask('state', 'state')).state
  }

  /** When nothing runs any more, or after five seconds: a client that leaves is noticed a moment later. */
  async stateAtRest(): Promise<ServerState> {
    for (let attempt = 0; ; attempt++) {
      const state = await this.state()
      const { running, waiting, pagesUsed } = state.stats
      if (running + waiting + pagesUsed === 0 || attempt === 50) return state
      await sleep(100)
    }
  }

  /** Waits until everything that runs has ended, and ends the process. */
  async drain(): Promise<boolean> {
    return (await this.#ask('drain', 'drained')).finished
  }

  /** Ends the process at once. */
  kill(): void {
    this.#child.kill('SIGKILL')
  }

  async #ask<T extends ServedAnswer['type']>(call: ServedCall, type: T): Promise<Extract<ServedAnswer, { type: T }>> {
    const answered = answer(this.#child, type)
    this.#child.send(call)
    return answered
  }
}

function answer<T extends ServedAnswer['type']>(child: ChildProcess, type: T): Promise<Extract<ServedAnswer, { type: T }>> {
  return new Promise((resolve, reject) => {
    const take = (message: unknown) => {
      const told = message as ServedAnswer
      if (told.type !== type) return
      stop()
      resolve(told as Extract<ServedAnswer, { type: T }>)
    }
    const fail = (code: number | null, signal: string | null) => {
      stop()
      reject(new Error(`the server ended with ${code ?? signal}`))
    }
    const stop = () => {
      child.off('message', take)
      child.off('exit', fail)
    }
    child.on('message', take)
    child.on('exit', fail)
  })
}
