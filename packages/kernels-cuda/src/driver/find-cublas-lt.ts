import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { BackendUnavailableError } from '@phsa/core'
import { type CublasLt, loadCublasLt } from './cublas-lt.js'

/** cuBLASLt as it was found. */
export interface CublasLtLibrary {
  readonly lt: CublasLt
  readonly file: string
}

/** The system that is looked through. */
export interface HostSystem {
  readonly platform: NodeJS.Platform
  readonly environment: NodeJS.ProcessEnv
}

/** Newest first. Their functions and structs are the same where this package uses them. */
const MAJORS = [13, 12, 11]
/** 11.11 is of CUDA 11.8, the first for Hopper. */
const LEAST = { major: 11, minor: 11 }
/** The environment's form of the option `cublasLt`: a file, or a folder that it is in. */
export const PLACE_VARIABLE = 'PHSA_CUBLASLT'

/** In a folder of libraries, a toolkit, or the packages of a Python. */
const FOLDERS = [
  '.',
  'lib64',
  'lib',
  'targets/x86_64-linux/lib',
  'targets/sbsa-linux/lib',
  'bin',
  'bin/x64',
  'nvidia/cu13/lib',
  'nvidia/cublas/lib',
  'nvidia/cu13/bin/x86_64',
  'nvidia/cublas/bin',
]

/**
 * Finds cuBLASLt: at the place that is named, by `place` or PHSA_CUBLASLT; otherwise under the names that the system's loader knows, in the toolkit of
 * CUDA_HOME or CUDA_PATH, in those under /usr/local.
 * @returns undefined where no place is named and there is none
 * @throws BackendUnavailableError where a place is named and there is none, with what was tried
 */
export function findCublasLt(
  place: string | undefined,
  load = loadCublasLt,
  system: HostSystem = thisSystem(),
): CublasLtLibrary | undefined {
  const named = place ?? system.environment[PLACE_VARIABLE]
  const failures: string[] = []
  for (const file of named ? filesAt(named, system) : usualFiles(system)) {
    try {
      const lt = load(file)
      checkVersion(lt)
      return { lt, file }
    } catch (error) {
      failures.push(`${file}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  if (!named) return undefined
  throw new BackendUnavailableError(
    `cuda: no cuBLASLt at ${named}, which ${place ? 'the option cublasLt' : PLACE_VARIABLE} names (${failures.join('; ') || 'no such file'}). Name the library or a folder that it is in, or give cublasLt: false to do without.`,
  )
}

function thisSystem(): HostSystem {
  return { platform: process.platform, environment: process.env }
}

/** @throws Error that says which versions will do */
function checkVersion(lt: CublasLt): void {
  const [major, minor] = [0, 1].map((property) => {
    const value = new Int32Array(1)
    const status = lt.cublasLtGetProperty(property, value)
    if (status !== 0) throw new Error(`it does not say its version: ${lt.cublasLtGetStatusName(status)}`)
    return value[0]
  })
  const tooOld = major < LEAST.major || (major === LEAST.major && minor < LEAST.minor)
  if (!tooOld && major <= MAJORS[0]) return
  throw new Error(`it is version ${major}.${minor}; this package knows ${LEAST.major}.${LEAST.minor} to ${MAJORS[0]}`)
}

function fileNames(platform: NodeJS.Platform): string[] {
  return MAJORS.map((major) => (platform === 'win32' ? `cublasLt64_${major}.dll` : `libcublasLt.so.${major}`))
}

function usualFiles(system: HostSystem): string[] {
  const { CUDA_HOME, CUDA_PATH } = system.environment
  const toolkits = [CUDA_HOME, CUDA_PATH, ...(system.platform === 'win32' ? [] : localToolkits())]
  return [...fileNames(system.platform), ...toolkits.flatMap((folder) => (folder ? filesAt(folder, system) : []))]
}

/** Folders of toolkits in their usual place, that of the newest first. */
function localToolkits(): string[] {
  const parent = '/usr/local'
  if (!existsSync(parent)) return []
  const names = readdirSync(parent).filter((name) => /^cuda(-\d+(\.\d+)?)?$/.test(name))
  return names.sort((a, b) => b.localeCompare(a, 'en', { numeric: true })).map((name) => join(parent, name))
}

/** The file itself, or the libraries in a folder and where a toolkit or Python's packages have them. */
function filesAt(place: string, { platform }: HostSystem): string[] {
  if (!existsSync(place) || !statSync(place).isDirectory()) return [place]
  const names = fileNames(platform)
  return names.flatMap((name) => FOLDERS.map((folder) => join(place, folder, name))).filter((file) => existsSync(file))
}
