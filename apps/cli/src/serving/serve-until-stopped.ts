import type { InferenceServer } from '@phsa/server'
import { ExitCode } from '../exit-code.js'
import type { Interruption } from '../interruption.js'

/** Serves until a signal, and then lets requests end. @returns ok where every request ended by itself @throws what the engine or the thread of HTTP failed with */
export async function serveUntilStopped(server: InferenceServer, { signal }: Interruption, graceSeconds: number): Promise<ExitCode> {
  const stopped = new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve())
  })
  await Promise.race([stopped, server.ended])
  return (await server.drain(graceSeconds * 1000)) ? ExitCode.ok : ExitCode.interrupted
}
