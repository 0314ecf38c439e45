import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findCublasLt } from '../src/driver/find-cublas-lt.js'
import { FakeCublasLt } from './fake-cublas-lt.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'phsa-cublaslt-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

/** A machine where these files are cuBLASLt, of these versions. */
function machine(libraries: Readonly<Record<string, readonly [number, number]>>, platform: NodeJS.Platform = 'linux') {
  const tried: string[] = []
  const find = (place?: string, environment: NodeJS.ProcessEnv = {}) => {
    const load = (file: string) => {
      tried.push(file)
      if (!(file in libraries)) throw new Error('no such file')
      return new FakeCublasLt({ version: libraries[file] })
    }
    return findCublasLt(place, load, { platform, environment })?.file
  }
  return { find, tried }
}

function put(...path: string[]): string {
  const file = join(folder, ...path)
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, '')
  return file
}

test('the newest one that the system knows', () => {
  const { find, tried } = machine({ 'libcublasLt.so.12': [12, 8], 'libcublasLt.so.11': [11, 11] })
  expect(find()).toBe('libcublasLt.so.12')
  expect(tried).toEqual(['libcublasLt.so.13', 'libcublasLt.so.12'])
  expect(machine({ 'cublasLt64_12.dll': [12, 8] }, 'win32').find()).toBe('cublasLt64_12.dll')
})

test('a toolkit that CUDA_HOME or CUDA_PATH names', () => {
  const file = put('toolkit', 'targets', 'x86_64-linux', 'lib', 'libcublasLt.so.13')
  expect(machine({ [file]: [13, 0] }).find(undefined, { CUDA_HOME: join(folder, 'toolkit') })).toBe(file)
  expect(machine({ [file]: [13, 0] }).find(undefined, { CUDA_PATH: join(folder, 'toolkit') })).toBe(file)
})

test('none is no error where no place is named', () => {
  expect(machine({}).find()).toBeUndefined()
})

test('one of a version that this package does not know is passed over', () => {
  const { find } = machine({ 'libcublasLt.so.13': [14, 0], 'libcublasLt.so.12': [12, 0], 'libcublasLt.so.11': [11, 10] })
  expect(find()).toBe('libcublasLt.so.12')
  expect(machine({ 'libcublasLt.so.11': [11, 10] }).find()).toBeUndefined()
})

test('a file or a folder that the option names, and no other', () => {
  const file = put('site-packages', 'nvidia', 'cu13', 'lib', 'libcublasLt.so.13')
  const { find, tried } = machine({ [file]: [13, 1], 'libcublasLt.so.13': [13, 0] })
  expect(find(join(folder, 'site-packages'))).toBe(file)
  expect(find(file)).toBe(file)
  expect(tried).toEqual([file, file])
  expect(find(undefined, { PHSA_CUBLASLT: join(folder, 'site-packages', 'nvidia', 'cu13', 'lib') })).toBe(file)
})

test('what is wrong with the one that is named', () => {
  const file = put('libcublasLt.so.11')
  const { find } = machine({ [file]: [11, 4] })
  expect(() => find(folder)).toThrow(
    expect.objectContaining({
      code: 'backend-unavailable',
      message: expect.stringContaining(`${file}: it is version 11.4; this package knows 11.11 to 13`),
    }),
  )
  expect(() => find(join(folder, 'none'))).toThrow(/no cuBLASLt at .*none, which the option cublasLt names \(.*no such file\)/)
  expect(() => find(undefined, { PHSA_CUBLASLT: join(folder, 'none') })).toThrow(/which PHSA_CUBLASLT names/)
})

test('a file that is no cuBLASLt lacks its functions', () => {
  const other = { linux: 'libm.so.6', darwin: 'libSystem.B.dylib', win32: 'kernel32.dll' }[process.platform as string] ?? 'libm.so.6'
  expect(() => findCublasLt(other)).toThrow(/has no cublasLt\w+; it is no cuBLASLt, or one too old/)
})
