import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { safetensorsHeader, serializeSafetensors } from '@phsa/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { folderFiles, type ModelFiles } from '../src/index.js'
import { openWeights } from '../src/weight-files.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'phsa-weights-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

/** Files in memory; counts the bytes of the longest read. */
function filesOf(contents: Record<string, Uint8Array | string>): ModelFiles & { longest: number } {
  const bytesOf = (name: string) => {
    const content = contents[name]
    return typeof content === 'string' ? new TextEncoder().encode(content) : content
  }
  return {
    label: 'memory',
    longest: 0,
    size: async (name) => (name in contents ? bytesOf(name).length : undefined),
    async read(name, begin, end) {
      this.longest = Math.max(this.longest, end - begin)
      return bytesOf(name).slice(begin, end)
    },
    close: async () => undefined,
  }
}

const shardOf = (...names: string[]) => serializeSafetensors(new Map(names.map((name) => [name, { shape: [1], data: Float32Array.of(1) }])))
const indexed = (weight_map: unknown, shards: Record<string, Uint8Array>) =>
  filesOf({ 'model.safetensors.index.json': JSON.stringify({ weight_map }), ...shards })

test.each<[string, unknown, Record<string, Uint8Array>, RegExp]>([
  ['no map', undefined, {}, /index.json: weight_map must map/],
  ['an empty map', {}, {}, /index.json: weight_map must map/],
  ['a list for a map', ['a'], {}, /index.json: weight_map must map/],
  ['a path upwards', { a: '../a.safetensors' }, {}, /weight_map has "..\/a.safetensors" for tensor a/],
  ['an absolute path', { a: '/etc/a.safetensors' }, {}, /weight_map has "\/etc\/a.safetensors"/],
  ['a path of Windows', { a: 'C:\\a.safetensors' }, {}, /weight_map has "C:/],
  ['another file of the folder', { a: 'config.json' }, {}, /weight_map has "config.json"/],
  ['the index as its own shard', { a: 'model.safetensors.index.json' }, {}, /weight_map has "model.safetensors.index.json"/],
  ['a number', { a: 1 }, {}, /weight_map has 1 for tensor a/],
  [
    'a shard that is not there',
    { a: 'x.safetensors' },
    {},
    /memory\/x.safetensors: it is missing, but model.safetensors.index.json names it/,
  ],
  [
    'a tensor that is not in its shard',
    { a: 'x.safetensors', b: 'x.safetensors' },
    { 'x.safetensors': shardOf('a') },
    /x.safetensors: tensor b is missing/,
  ],
  [
    'a tensor that the index does not name',
    { a: 'x.safetensors' },
    { 'x.safetensors': shardOf('a', 'b') },
    /x.safetensors: it has tensor b, but .* does not name it/,
  ],
  [
    'a tensor in two shards',
    { a: 'x.safetensors', b: 'y.safetensors' },
    { 'x.safetensors': shardOf('a'), 'y.safetensors': shardOf('a', 'b') },
    /y.safetensors: it has tensor a, but .* says that it is in x.safetensors/,
  ],
  [
    'a shard of text',
    { a: 'x.safetensors' },
    { 'x.safetensors': new TextEncoder().encode('no weights') },
    /memory\/x.safetensors: the header claims/,
  ],
])('an index with %s', async (_, map, shards, message) => {
  await expect(openWeights(indexed(map, shards))).rejects.toThrow(message)
})

test('16-bit weights are read in pieces', async () => {
  const count = 2 ** 23 + 3
  const data = new Float32Array(count)
  data.set([1, 2, 3], count - 3)
  const files = filesOf({ 'model.safetensors': serializeSafetensors(new Map([['a', { shape: [count], data, type: 'BF16' }]])) })
  const weights = await openWeights(files)
  const values = await weights.read('a')
  expect(values).toHaveLength(count)
  expect([...values.subarray(-4)]).toEqual([0, 1, 2, 3])
  expect(files.longest).toBe(2 ** 24)
})

// NTFS would write all of these bytes.
test.skipIf(process.platform === 'win32')('tensors on both sides of 2 and 4 GiB', async () => {
  const tensors = new Map(
    [
      ['first', 2],
      ['hole', 2 ** 29],
      ['past 2 GiB', 3],
      ['another hole', 2 ** 29 + 5],
      ['past 4 GiB', 4],
    ].map(([name, count]) => [name as string, { type: 'F32', shape: [count as number] } as const]),
  )
  const header = safetensorsHeader(tensors)
  const file = openSync(join(folder, 'model.safetensors'), 'w')
  const offsets = [0, 8, 8 + 2 ** 31, 20 + 2 ** 31, 40 + 2 ** 32]
  const put = (offset: number, ...values: number[]) =>
    writeSync(file, Float32Array.from(values), 0, values.length * 4, header.length + offset)
  writeSync(file, header, 0)
  put(offsets[0], 1, 2)
  put(offsets[2], 3, 4, 5)
  put(offsets[4], 6, 7, 8, 9)
  ftruncateSync(file, header.length + offsets[4] + 16)
  closeSync(file)
  const files = await folderFiles(folder)
  const weights = await openWeights(files)
  expect([...(await weights.read('first'))]).toEqual([1, 2])
  expect([...(await weights.read('past 2 GiB'))]).toEqual([3, 4, 5])
  expect([...(await weights.read('past 4 GiB'))]).toEqual([6, 7, 8, 9])
  expect(weights.shape('another hole')).toEqual([2 ** 29 + 5])
  await files.close()
})

test('what is no file is refused without being opened', async () => {
  mkdirSync(join(folder, 'model.safetensors'))
  const files = await folderFiles(folder)
  await expect(openWeights(files)).rejects.toThrow(/model.safetensors: it is no file/)
  await expect(files.read('config.json', 0, 8)).rejects.toThrow(/config.json: it cannot be read \(ENOENT/)
  await files.close()
})
