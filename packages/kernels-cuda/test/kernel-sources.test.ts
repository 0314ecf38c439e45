import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findNvcc } from '../scripts/find-nvcc.mjs'
import { hashOfAll, kernelSources, RELEASE_TARGETS, whyStale } from '../scripts/kernel-sources.mjs'

let folder: string
const write = (name: string, text: string) => writeFileSync(join(folder, name), text)
const index = (content: object) => write('phsa-kernels.json', JSON.stringify(content))

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'phsa-sources-'))
  write('b_sm90.cu', 'b')
  write('a.cu', 'a')
  write('shared.cuh', 'x')
})
afterEach(() => rmSync(folder, { recursive: true }))

test('a header belongs to every source', () => {
  const before = kernelSources(folder)
  expect(before.map(({ name, hopperOnly }) => [name, hopperOnly])).toEqual([
    ['a', false],
    ['b_sm90', true],
  ])
  write('shared.cuh', 'y')
  const after = kernelSources(folder)
  for (const [at, { hash }] of after.entries()) expect(hash).not.toBe(before[at].hash)
})

test('only kernels built for all GPUs from these sources may be published', () => {
  const sources = kernelSources(folder)
  const sourceHash = hashOfAll(sources)
  expect(whyStale(folder, sources)).toBe('they were not built')
  write('phsa-kernels.fatbin', '')
  index({ sourceHash, targets: ['sm_90a'] })
  expect(whyStale(folder, sources)).toBe('they were built for sm_90a only, without sm_80, sm_89, compute_80')
  index({ sourceHash, targets: RELEASE_TARGETS })
  expect(whyStale(folder, sources)).toBeUndefined()
  write('a.cu', 'changed')
  expect(whyStale(folder, kernelSources(folder))).toBe('the sources have changed since they were built')
})

// A shell script stands for nvcc, which Windows does not start.
test.skipIf(process.platform === 'win32')('nvcc is found where CUDA_HOME says', () => {
  mkdirSync(join(folder, 'bin'))
  writeFileSync(join(folder, 'bin/nvcc'), '#!/bin/sh\necho "Cuda compilation tools, release 13.4, V13.4.1"\n', { mode: 0o755 })
  expect(findNvcc({ CUDA_HOME: folder })).toEqual({ path: join(folder, 'bin/nvcc'), version: [13, 4] })
})
