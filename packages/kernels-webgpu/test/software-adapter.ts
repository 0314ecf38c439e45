import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findChromium } from '../../../scripts/chromium-page.js'

/** Vulkan in software: SwiftShader comes with Chromium and has no f16; lavapipe is Mesa's and has. */
export type SoftwareAdapter = 'swiftshader' | 'lavapipe'

/**
 * Points Vulkan to a software driver, so that WebGPU works without a GPU. A driver that the user names with VK_DRIVER_FILES or VK_ICD_FILENAMES stays.
 * To be called before Dawn starts; a process has one driver.
 * @returns why not, where the driver is not installed
 */
export function useSoftwareAdapter(adapter: SoftwareAdapter): string | undefined {
  if (process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES) return undefined
  const file = places(adapter).find((place) => existsSync(place))
  if (!file) return `${adapter} is not installed: ${REMEDIES[adapter]}`
  process.env.VK_DRIVER_FILES = file
  // Loaders before 1.3.207 know this name alone.
  process.env.VK_ICD_FILENAMES = file
  // Of lavapipe: optimizing takes longer than these tests run.
  process.env.GALLIVM_PERF ??= 'nopt'
  return undefined
}

const REMEDIES = { swiftshader: 'it comes with Chromium', lavapipe: 'node scripts/install-lavapipe.mjs fetches it' }
/** Where `scripts/install-lavapipe.mjs` puts it. */
const LAVAPIPE = fileURLToPath(new URL('../../../node_modules/.cache/lavapipe/lavapipe.json', import.meta.url))
/** Vulkan of Mesa 22, which has no f16 that Dawn takes. */
const TOO_OLD = [1, 3, 235]

function isNewEnough(file: string): boolean {
  const version = String(JSON.parse(readFileSync(file, 'utf8')).ICD?.api_version)
    .split('.')
    .map(Number)
  const different = TOO_OLD.findIndex((part, index) => version[index] !== part)
  return different >= 0 && version[different] > TOO_OLD[different]
}

function places(adapter: SoftwareAdapter): string[] {
  if (adapter === 'lavapipe') {
    const names = ['lvp_icd.json', 'lvp_icd.x86_64.json', 'lvp_icd.aarch64.json']
    const installed = names.map((name) => join('/usr/share/vulkan/icd.d', name))
    return [LAVAPIPE, ...installed.filter((file) => existsSync(file) && isNewEnough(file))]
  }
  const chromium = findChromium()
  const folders = [
    ...(chromium ? [dirname(realpathSync(chromium))] : []),
    '/usr/lib/chromium',
    '/usr/lib/chromium-browser',
    '/opt/google/chrome',
  ]
  return folders.map((folder) => join(folder, 'vk_swiftshader_icd.json'))
}
