import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BackendUnavailableError } from '@phsa/core'
import { afterEach, expect, test, vi } from 'vitest'
import { findNccl } from '../src/driver/find-nccl.js'
import { nonBlockingConfig } from '../src/driver/nccl-config.js'
import { FakeNccl } from './collective/fake-nccl.js'

afterEach(() => vi.unstubAllEnvs())

/** Loads files that end like this. */
function loader(ending: string) {
  const tried: string[] = []
  const load = (file: string) => {
    tried.push(file)
    if (!file.endsWith(ending)) throw new Error('no such file')
    return new FakeNccl(() => new Uint8Array(0))
  }
  return { load, tried }
}

test('the system’s, a file, and a folder of Python packages', () => {
  vi.stubEnv('PHSA_NCCL', undefined)
  const system = loader('libnccl.so.2')
  expect(findNccl(undefined, system.load)).toBeInstanceOf(FakeNccl)
  expect(system.tried).toEqual(['libnccl.so.2'])
  const named = loader('my-nccl.so')
  findNccl('/opt/my-nccl.so', named.load)
  expect(named.tried).toEqual(['/opt/my-nccl.so'])
  const folder = mkdtempSync(join(tmpdir(), 'phsa-nccl-'))
  try {
    const library = join(folder, 'nvidia/nccl/lib/libnccl.so.2')
    mkdirSync(join(library, '..'), { recursive: true })
    writeFileSync(library, '')
    const packages = loader(library)
    findNccl(folder, packages.load)
    expect(packages.tried).toEqual([library])
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('none is refused with what was tried and what to do', () => {
  expect(() => findNccl('/nowhere', loader('?').load)).toThrow(
    expect.objectContaining({
      code: 'backend-unavailable',
      message: expect.stringMatching(/no NCCL at \/nowhere \(no such file\)\. Install it .* cuda\(\{ nccl \}\) or PHSA_NCCL/),
    }),
  )
  const old = () => {
    throw new BackendUnavailableError('NCCL 2.9')
  }
  expect(() => findNccl('/old.so', old)).toThrow('NCCL 2.9')
})

test('the configuration is that of NCCL 2.18 for calls that do not block', () => {
  const view = new DataView(nonBlockingConfig().buffer)
  expect([view.byteLength, view.getBigUint64(0, true)]).toEqual([48, 48n])
  expect([8, 12, 16].map((offset) => view.getUint32(offset, true))).toEqual([0xcafebeef, 21800, 0])
  expect([20, 24, 28, 40].map((offset) => view.getInt32(offset, true))).toEqual(Array(4).fill(-(2 ** 31)))
  expect(view.getBigUint64(32, true)).toBe(0n)
})
