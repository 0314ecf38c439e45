import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { BackendUnavailableError, isPhsaError } from '@phsa/core'
import { loadNccl, type Nccl } from './nccl.js'

const NAME = 'libnccl.so.2'
/** A file, or a folder that it is in: what the option `nccl` takes. */
const PLACE_VARIABLE = 'PHSA_NCCL'
/** In a folder of libraries, or the packages of a Python. */
const FOLDERS = ['.', 'lib', 'lib64', 'nvidia/nccl/lib']

/**
 * Finds NCCL: at the place that is named, by `place` or PHSA_NCCL; otherwise as the system's loader does.
 * @throws BackendUnavailableError with what was tried
 */
export function findNccl(place = process.env[PLACE_VARIABLE], load = loadNccl): Nccl {
  const failures: string[] = []
  for (const file of place ? filesAt(place) : [NAME]) {
    try {
      return load(file)
    } catch (error) {
      if (isPhsaError(error)) throw error
      failures.push(error instanceof Error ? error.message : String(error))
    }
  }
  throw new BackendUnavailableError(
    `cuda: no NCCL${place ? ` at ${place}` : ''} (${failures.join('; ') || 'no such file'}). Install it (the system package libnccl2, or the Python package nvidia-nccl-cu13), and where it lies in no usual place name the file or its folder with cuda({ nccl }) or ${PLACE_VARIABLE}.`,
  )
}

/** The file itself, or the library in a folder. */
function filesAt(place: string): string[] {
  if (!existsSync(place) || !statSync(place).isDirectory()) return [place]
  return FOLDERS.map((folder) => join(place, folder, NAME)).filter((file) => existsSync(file))
}
