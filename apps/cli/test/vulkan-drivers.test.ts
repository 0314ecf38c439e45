import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { hasVulkanDriver } from '../src/vulkan-drivers.js'

test('a driver is what the environment names, where it exists, or a manifest in a folder of the loader', () => {
  const home = mkdtempSync(join(tmpdir(), 'phsa-vulkan-'))
  onTestFinished(() => rmSync(home, { recursive: true }))
  const manifest = join(home, 'vulkan/icd.d/a.json')
  const without = hasVulkanDriver({})
  expect(hasVulkanDriver({ XDG_DATA_HOME: home })).toBe(without)
  mkdirSync(join(home, 'vulkan/icd.d'), { recursive: true })
  expect(hasVulkanDriver({ XDG_DATA_HOME: home })).toBe(without)
  writeFileSync(manifest, '{}')
  expect(hasVulkanDriver({ XDG_DATA_HOME: home })).toBe(true)
  expect(hasVulkanDriver({ XDG_DATA_DIRS: `/nowhere:${home}` })).toBe(true)
  expect(hasVulkanDriver({ VK_DRIVER_FILES: '/nowhere/a.json', XDG_DATA_HOME: home })).toBe(false)
  expect(hasVulkanDriver({ VK_ICD_FILENAMES: `/nowhere/a.json:${manifest}` })).toBe(true)
})
