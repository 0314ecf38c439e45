import { serveFolder } from '@phsa/server'
import { bundledPlayground } from '../demo/bundled-assets.js'
import { ExitCode } from '../exit-code.js'
import { interruptible } from '../interruption.js'
import { reportJsonLine } from '../report-json.js'

export interface PlaygroundOptions {
  readonly port: number
  /** Default: the pages that come with the package. */
  readonly folder?: string
  readonly json?: boolean
}

/** Serves the playground to this machine until a signal. */
export async function runPlayground({ port, json, folder = bundledPlayground() }: PlaygroundOptions): Promise<ExitCode> {
  const served = await serveFolder({ folder, port })
  process.stdout.write(
    json ? reportJsonLine({ type: 'listening', url: served.url }) : `The playground is at ${served.url}; Ctrl-C ends it.\n`,
  )
  return interruptible(async ({ signal }) => {
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
    await served.close()
    return ExitCode.ok
  }, 'closing')
}
