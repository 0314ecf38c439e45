import { parentPort } from 'node:worker_threads'
import { readStreams, type StreamAnswer, type StreamJob } from './client-streams.js'

// The thread of the clients, so that reading streams takes no time of the engine's. `openClients` starts it.

/** What a job gave. */
export type JobAnswer = { readonly answers: readonly StreamAnswer[] } | { readonly error: string }

parentPort?.on('message', async (job: StreamJob) => {
  const answer: JobAnswer = await readStreams(job).then(
    (answers) => ({ answers }),
    (error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }),
  )
  parentPort?.postMessage(answer)
})
