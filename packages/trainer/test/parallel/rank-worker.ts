import { parentPort } from 'node:worker_threads'
import { isPhsaError, reference } from '@phsa/core'
import { type RankResult, type RankTask, runRankTask } from './rank-task.js'
import { announceEnd, SharedCollective } from './shared-collective.js'

/** What the thread of a rank is asked. */
export interface RankRequest {
  readonly task: RankTask
  readonly rank: number
  readonly size: number
  readonly shared: SharedArrayBuffer
}

/** What it answers: what came of the task, or why nothing did. */
export type RankAnswer =
  | (RankResult & { readonly ok: true; readonly sums: readonly number[] })
  | { readonly ok: false; readonly code: string | undefined; readonly message: string }

parentPort?.on('message', async ({ task, rank, size, shared }: RankRequest) => {
  const backend = await reference()
  const collective = new SharedCollective(backend.memory, shared, rank, size)
  try {
    const result = await runRankTask(task, Object.assign(backend, { collective }))
    parentPort?.postMessage({ ok: true, sums: collective.calls, ...result } satisfies RankAnswer)
  } catch (error) {
    announceEnd(shared, rank)
    const code = isPhsaError(error) ? error.code : undefined
    parentPort?.postMessage({ ok: false, code, message: String(error) } satisfies RankAnswer)
  } finally {
    backend.dispose()
  }
})
