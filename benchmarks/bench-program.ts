import { renameSync, writeFileSync } from 'node:fs'
import { unavailableReason } from './attention/bench-attention.js'

/** Writes a result file whole or not at all: a run that is stopped leaves what it had. */
export function resultWriter(path: string): (result: object) => void {
  return (result) => {
    writeFileSync(`${path}.part`, `${JSON.stringify(result, undefined, 2)}\n`)
    renameSync(`${path}.part`, path)
  }
}

/** Runs a program that measures something. @param run gives whether all of it was right @returns the exit code: 0, 1 where not, 3 without a device for it */
export async function programCode(run: () => Promise<boolean>): Promise<number> {
  try {
    return (await run()) ? 0 : 1
  } catch (error) {
    const reason = unavailableReason(error)
    if (reason === undefined) throw error
    console.error(reason)
    return 3
  }
}
