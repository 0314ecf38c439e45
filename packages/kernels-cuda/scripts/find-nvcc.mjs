import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/**
 * CUDA's compiler: from PATH, CUDA_HOME or CUDA_PATH, or one of the usual places, the newest there.
 *
 * @returns {{ path: string, version: [number, number] } | undefined} undefined where there is none
 */
export function findNvcc(environment = process.env) {
  const name = process.platform === 'win32' ? 'nvcc.exe' : 'nvcc'
  const named = [environment.CUDA_HOME, environment.CUDA_PATH].filter(Boolean).map((home) => join(home ?? '', 'bin'))
  const folders = [...(environment.PATH ?? '').split(delimiter), ...named, ...usualFolders()]
  const path = folders.map((folder) => join(folder, name)).find((file) => existsSync(file))
  if (path === undefined) return undefined
  const { stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' })
  const release = /release (\d+)\.(\d+)/.exec(stdout ?? '')
  if (!release) throw new Error(`${path} --version names no release; is it CUDA's compiler? It printed:\n${stdout}`)
  return { path, version: [Number(release[1]), Number(release[2])] }
}

function usualFolders() {
  const parent = process.platform === 'win32' ? 'C:/Program Files/NVIDIA GPU Computing Toolkit/CUDA' : '/usr/local'
  const versions = existsSync(parent) ? readdirSync(parent).filter((name) => /^(cuda-|v)\d/.test(name)) : []
  versions.sort((one, other) => other.localeCompare(one, 'en', { numeric: true }))
  return ['/usr/local/cuda/bin', ...versions.map((name) => join(parent, name, 'bin')), '/opt/cuda/bin']
}
