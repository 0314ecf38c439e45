import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { StreamAnswer, StreamJob } from './client-streams.js'
import type { JobAnswer } from './client-thread.js'

/** Clients in a thread of their own. One job at a time. */
export interface Clients {
  /** See `readStreams`. */
  run(job: StreamJob): Promise<readonly StreamAnswer[]>
  close(): Promise<void>
}

/** Starts the thread: a file beside this one, or beside the program that it is bundled in. */
export function openClients(): Clients {
  const name = import.meta.url.endsWith('.ts') ? './client-thread.ts' : './bench-serve-clients.js'
  const worker = new Worker(new URL(name, import.meta.url))
  return {
    async run(job) {
      // Rejects where the thread fails.
      const answered = once(worker, 'message') as Promise<[JobAnswer]>
      worker.postMessage(job)
      const [answer] = await answered
      if ('error' in answer) throw new Error(answer.error)
      return answer.answers
    },
    async close() {
      await worker.terminate()
    },
  }
}
