import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AttentionSpec, attentionSpec, CONTRACT_VERSION, PHSA_4K } from '@phsa/core'
import { afterEach, expect, test, vi } from 'vitest'
import { readKernelArchive } from '../src/driver/kernel-archive.js'
import { openDriver } from '../src/driver/open-driver.js'
import { openBackend } from '../src/open-backend.js'
import { FakeDriver, fakeArchive } from './fake-driver.js'

const spec = attentionSpec(PHSA_4K, { heads: 16, kvHeads: 8, headDim: 128, dtype: 'bf16' })
function open() {
  const archive = fakeArchive()
  const driver = new FakeDriver({}, archive)
  return { driver, backend: openBackend(driver, archive, 0) }
}

afterEach(() => void vi.doUnmock('../src/driver/cuda-driver.js'))

test('a backend says what it is', () => {
  const { backend } = open()
  expect(backend.contractVersion).toBe(CONTRACT_VERSION)
  expect(backend.device).toBe('Fake GPU, compute capability 9.0, 1.0 GiB, driver for CUDA 13.0')
  expect(backend.limits).toEqual({ dtypes: ['f32', 'bf16'], blocking: false })
})

test.each<[Partial<AttentionSpec>, RegExp | undefined]>([
  [{}, undefined],
  [{ dtype: 'f32', headDim: 32, blockSize: 64, initTokens: 64, localTokens: 64, topK: 64 }, undefined],
  [{ dtype: 'f16' }, /dtype is f16; there are f32, bf16/],
  [{ headDim: 96 }, /headDim is 96; .* 32, 64, 128/],
  [{ blockSize: 48, initTokens: 48, localTokens: 48 }, /blockSize is 48; .* 8, 16, 32, 64/],
  [{ heads: 34, kvHeads: 2 }, /17 each; .* 16/],
  [{ topK: 65 }, /topK is 65; at most 64/],
])('supports %j: %s', async (change, refusal) => {
  const { backend } = open()
  const changed = { ...spec, ...change }
  const support = backend.supports(changed)
  expect(support.ok ? undefined : support.reason).toEqual(refusal ? expect.stringMatching(refusal) : undefined)
  if (refusal) await expect(backend.prepare([changed])).rejects.toMatchObject({ code: 'unsupported' })
})

test('prepare loads the kernels, and a disposed backend has none', async () => {
  const { backend, driver } = open()
  await backend.prepare([spec])
  expect(driver.modules.size).toBe(2)
  backend.dispose()
  backend.dispose()
  expect(driver.modules.size).toBe(0)
  await expect(backend.prepare([spec])).rejects.toMatchObject({ code: 'disposed' })
})

test('a lost backend is disposed without a word, and the next one works', async () => {
  const { backend, driver } = open()
  const tensor = backend.memory.alloc([3], 'f32')
  driver.failures.set('cuMemsetD8Async', [700])
  expect(() => backend.memory.zero(tensor)).toThrow(expect.objectContaining({ code: 'backend-lost' }))
  expect((await backend.lost).code).toBe('backend-lost')
  await expect(backend.prepare([spec])).rejects.toMatchObject({ code: 'backend-lost' })
  backend.dispose()
  const next = openBackend(driver, fakeArchive(), 0)
  expect(next.memory.alloc([3], 'f32').shape).toEqual([3])
})

test('prepare leaves the event loop its turns, and ends where the backend is disposed meanwhile', async () => {
  const { backend, driver } = open()
  const preparing = backend.prepare([spec])
  expect(driver.modules.size).toBe(1)
  backend.dispose()
  await expect(preparing).rejects.toMatchObject({ code: 'disposed' })
  expect(driver.modules.size).toBe(0)
})

test('no driver library, with what the loader says', async () => {
  await expect(openDriver('libno-such-driver.so.1')).rejects.toMatchObject({
    code: 'backend-unavailable',
    message: expect.stringMatching(/^cuda: no libno-such-driver.so.1: is NVIDIA's driver installed\? \(.+\)$/),
  })
})

/** A library that every system of its kind has, and that is no driver. */
const OTHER_LIBRARIES: Partial<Record<NodeJS.Platform, string>> = { linux: 'libm.so.6', darwin: 'libSystem.B.dylib', win32: 'kernel32.dll' }

test('a driver library that lacks a function is too old', async () => {
  const file = OTHER_LIBRARIES[process.platform]
  await expect(openDriver(file)).rejects.toMatchObject({
    code: 'backend-unavailable',
    message: expect.stringMatching(`^cuda: ${file} is too old: it has no cu\\w+\\. Update NVIDIA's driver`),
  })
})

test('koffi that does not load is not taken for a missing driver', async () => {
  vi.doMock('../src/driver/cuda-driver.js', () => {
    throw new Error('no native module')
  })
  await expect(openDriver()).rejects.toMatchObject({
    code: 'backend-unavailable',
    message: expect.stringMatching(/^cuda: koffi, which calls/),
  })
})

test('kernels that were not built, and built ones', () => {
  const folder = mkdtempSync(join(tmpdir(), 'phsa-kernels-'))
  try {
    expect(() => readKernelArchive(folder)).toThrow(/the kernels were not built.*build-kernels\.mjs --required/)
    const module = { name: 'memory', kernels: ['convert'], targets: ['sm_80'] }
    writeFileSync(join(folder, 'phsa-kernels.fatbin'), Uint8Array.of(1, 2, 3, 4, 5))
    writeFileSync(join(folder, 'phsa-kernels.json'), JSON.stringify({ leastDriver: 13000, modules: [{ ...module, offset: 1, bytes: 3 }] }))
    const { leastDriver, modules } = readKernelArchive(folder)
    expect([leastDriver, modules.map(({ image, ...rest }) => ({ ...rest, image: [...image] }))]).toEqual([
      13000,
      [{ ...module, image: [2, 3, 4] }],
    ])
  } finally {
    rmSync(folder, { recursive: true })
  }
})
