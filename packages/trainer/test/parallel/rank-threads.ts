import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { RankTask } from './rank-task.js'
import type { RankAnswer, RankRequest } from './rank-worker.js'
import { sharedGroup } from './shared-collective.js'

/** A thread for each rank, which run one task after the other: starting them takes longer than a task. */
export class RankThreads {
  readonly #workers: readonly Worker[]
  /** Why a thread ended, with an error of its own or without one: it will answer no more. */
  readonly #broken: Promise<Error>

  constructor(size: number) {
    const env = { ...process.env, TSX_TSCONFIG_PATH: fileURLToPath(new URL('../../tsconfig.json', import.meta.url)) }
    const start = new URL('rank-worker-start.mjs', import.meta.url)
    this.#workers = Array.from({ length: size }, () => new Worker(start, { env }))
    this.#broken = new Promise((resolve) => {
      for (const [rank, worker] of this.#workers.entries()) {
        worker.on('error', resolve)
        worker.on('exit', (code) => resolve(new Error(`the thread of rank ${rank} ended with exit code ${code} and without an error`)))
      }
    })
  }

  /** What each rank came to, by rank. */
  run(task: RankTask): Promise<RankAnswer[]> {
    const size = this.#workers.length
    const shared = sharedGroup(size)
    const answers = this.#workers.map(async (worker, rank) => {
      worker.postMessage({ task, rank, size, shared } satisfies RankRequest)
      const [answer] = await once(worker, 'message')
      return answer as RankAnswer
    })
    const broken = this.#broken.then((error) => {
      throw error
    })
    return Promise.race([Promise.all(answers), broken])
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()))
  }
}
