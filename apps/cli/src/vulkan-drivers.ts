import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** Where the Vulkan loader looks for drivers on Linux, besides the folders that the environment names. */
const FOLDERS = ['/etc', '/usr/local/etc', '/usr/local/share', '/usr/share']

/** Whether Linux has a Vulkan driver for WebGPU: a file that the environment names, or a manifest in one of the loader's folders. Without one the loader writes complaints of its own. */
export function hasVulkanDriver({
  VK_DRIVER_FILES,
  VK_ICD_FILENAMES,
  XDG_DATA_DIRS = '',
  XDG_DATA_HOME,
  HOME,
}: NodeJS.ProcessEnv): boolean {
  const named = VK_DRIVER_FILES ?? VK_ICD_FILENAMES
  if (named) return named.split(':').some((file) => existsSync(file))
  const home = XDG_DATA_HOME ?? (HOME && join(HOME, '.local/share'))
  const folders = [...FOLDERS, ...XDG_DATA_DIRS.split(':'), ...(home ? [home] : [])].filter((folder) => folder !== '')
  return folders.map((folder) => join(folder, 'vulkan/icd.d')).some((folder) => existsSync(folder) && hasManifest(folder))
}

function hasManifest(folder: string): boolean {
  return readdirSync(folder).some((name) => name.endsWith('.json'))
}
