import { isPhsaError } from '@phsa/core'
import { type BackendEntry, backends } from '../backends.js'
import { ExitCode } from '../exit-code.js'
import { machine } from '../machine.js'
import { reportJson } from '../report-json.js'

interface BackendHealth {
  readonly name: string
  readonly ok: boolean
  /** The device in words, or the reason why not. */
  readonly detail: string
}

/** Tries every backend; exit code 3 only where none works. */
export async function runDoctor({ json }: { json?: boolean }): Promise<ExitCode> {
  const health: BackendHealth[] = []
  // One after the other: the engines of TensorFlow.js share one global.
  for (const entry of backends) health.push(await examine(entry))
  if (json) {
    process.stdout.write(reportJson({ machine: machine(), backends: health }))
  } else {
    const { node, platform, cores, cpu, memoryGiB } = machine()
    process.stdout.write(`Node ${node}, ${platform}, ${cores} cores (${cpu}), ${memoryGiB} GiB\n\n`)
    const width = Math.max(...health.map(({ name }) => name.length)) + 2
    for (const { name, ok, detail } of health) {
      process.stdout.write(`${name.padEnd(width)}${(ok ? 'works' : 'no').padEnd(7)}${detail}\n`)
    }
  }
  return health.some(({ ok }) => ok) ? ExitCode.ok : ExitCode.backendUnavailable
}

async function examine({ name, create }: BackendEntry): Promise<BackendHealth> {
  try {
    const backend = await create()
    const detail = `${backend.device}; ${backend.limits.dtypes.join(', ')}`
    backend.dispose()
    return { name, ok: true, detail }
  } catch (error) {
    if (!isPhsaError(error, 'backend-unavailable')) throw error
    return { name, ok: false, detail: error.message }
  }
}
