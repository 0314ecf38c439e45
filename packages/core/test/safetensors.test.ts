import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isPhsaError } from '../src/errors/phsa-error.js'
import { roundArray } from '../src/rounding.js'
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from '../src/safetensors/element-types.js'
import { parseSafetensors } from '../src/safetensors/parse-safetensors.js'
import {
  encodeElements,
  type SafetensorsTensor,
  serializeSafetensors,
  streamSafetensors,
} from '../src/safetensors/serialize-safetensors.js'

const fixture = new Uint8Array(readFileSync(new URL('../../../fixtures/attention/varlen.safetensors', import.meta.url)))

/** A file with this header over `dataBytes` bytes of data. */
function fileOf(header: unknown, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header))
  const file = new Uint8Array(8 + json.length + dataBytes)
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true)
  file.set(json, 8)
  return file
}

describe('reading', () => {
  test('a file that another program wrote', () => {
    const file = parseSafetensors(fixture)
    expect(file.metadata.blockSize).toBe('16')
    expect(file.entries.get('selected')).toMatchObject({ type: 'I32', shape: [1, 189, 3] })
    expect(file.read('seqlens')).toBeInstanceOf(Int32Array)
    expect([...file.read('seqlens')].reduce((sum, length) => sum + length, 0)).toBe(189)
    expect(file.read('q')).toHaveLength(189 * 4 * 32)
  })

  test('a tensor that is not there is named with those that are', () => {
    expect(() => parseSafetensors(fixture, 'varlen').read('queries')).toThrow(/varlen: there is no tensor queries; it has .*seqlens/)
  })

  test('f16 widens exactly, subnormals and infinities too', () => {
    const bits = Uint16Array.from([0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00, 0xfc00])
    expect([...decodeFloat16(bits)]).toEqual([0, -0, 1, -2, 65504, 2 ** -24, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
    expect(decodeFloat16(Uint16Array.from([0x7e00]))[0]).toBeNaN()
  })

  test('I64 is read where it fits 32 bits and refused where it does not', () => {
    const header = { ids: { dtype: 'I64', shape: [1], data_offsets: [0, 8] } }
    const file = fileOf(header, 8)
    new DataView(file.buffer).setBigInt64(file.length - 8, -7n, true)
    expect([...parseSafetensors(file).read('ids')]).toEqual([-7])
    new DataView(file.buffer).setBigInt64(file.length - 8, 2n ** 40n, true)
    expect(() => parseSafetensors(file).read('ids')).toThrow(/ids holds 1099511627776, which does not fit in 32 bits/)
  })
})

describe('writing', () => {
  const tensors = fc.dictionary(
    fc.string({ minLength: 1, maxLength: 12 }).filter((name) => name !== '__metadata__' && name !== '__proto__'),
    fc.oneof(
      fc.float32Array({ maxLength: 40 }),
      fc.int32Array({ maxLength: 40 }),
      fc.uint8Array({ maxLength: 40 }),
      fc.float64Array({ maxLength: 40 }),
    ),
    { maxKeys: 6 },
  )

  test('what is written is read back, to the bit', () => {
    fc.assert(
      fc.property(
        tensors,
        fc.dictionary(
          fc.string({ maxLength: 8 }).filter((name) => name !== '__proto__'),
          fc.string(),
        ),
        (data, metadata) => {
          const written = new Map<string, SafetensorsTensor>(
            Object.entries(data).map(([name, values]) => [name, { shape: [values.length], data: values }]),
          )
          const file = parseSafetensors(serializeSafetensors(written, metadata))
          expect(file.metadata).toEqual(metadata)
          expect([...file.entries.keys()].sort()).toEqual([...written.keys()].sort())
          for (const [name, values] of Object.entries(data)) expect(file.read(name)).toEqual(values)
        },
      ),
    )
  })

  test('bf16 rounds to nearest even and keeps NaN', () => {
    const values = Float32Array.from([1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -0, 3.4e38, Number.NaN])
    const [one, even, up, zero, huge, nan] = decodeBfloat16(encodeBfloat16(values))
    expect([one, even, up, zero]).toEqual([1, 1, 1 + 2 ** -6, -0])
    expect(huge).toBe(Number.POSITIVE_INFINITY)
    expect(nan).toBeNaN()
    const file = parseSafetensors(
      serializeSafetensors(new Map([['w', { shape: [2], data: Float32Array.from([0.5, -2]), type: 'BF16' as const }]])),
    )
    expect(file.entries.get('w')?.type).toBe('BF16')
    expect([...file.read('w')]).toEqual([0.5, -2])
  })

  test('f16 rounds to nearest even, over its whole range and beyond', () => {
    const bits = Uint16Array.from({ length: 2 ** 16 }, (_, index) => index).filter((word) => (word & 0x7fff) <= 0x7c00)
    expect(encodeFloat16(decodeFloat16(bits))).toEqual(bits)
    expect(decodeFloat16(encodeFloat16(Float32Array.of(Number.NaN)))[0]).toBeNaN()
    // Halfway between two neighbours, and one float32 to either side.
    const between = decodeFloat16(bits.filter((word) => word < 0x7c00)).map((value, index, all) => (value + (all[index + 1] ?? 65536)) / 2)
    const beside = [...between].flatMap((value) => [value, -value, value * (1 + 2 ** -23), value * (1 - 2 ** -23)])
    const values = Float32Array.from([...beside, 65519, 65520, 7e4, 2 ** -25, 2 ** -26, 1e-45])
    expect(decodeFloat16(encodeFloat16(values))).toEqual(roundArray(values, 'f16'))
  })

  test('a stream asks for one tensor after the other, and only after its header', async () => {
    const tensors = new Map<string, SafetensorsTensor>([
      ['__proto__', { shape: [2], data: Float32Array.of(1, -2), type: 'F16' }],
      ['empty', { shape: [0, 3], data: new Float32Array(0) }],
      ['ids', { shape: [1], data: Int32Array.of(7) }],
    ])
    const described = new Map(
      [...tensors].map(([name, { shape, type, data }]) => [
        name,
        { shape, type: type ?? (data instanceof Int32Array ? 'I32' : 'F32') } as const,
      ]),
    )
    const events: string[] = []
    const parts: Uint8Array[] = []
    const read = async (name: string) => {
      events.push(name)
      return tensors.get(name)!.data
    }
    for await (const part of streamSafetensors(described, read, { made: 'here' })) {
      events.push(`${part.length} bytes`)
      parts.push(part)
    }
    expect(events.slice(1)).toEqual(['__proto__', '4 bytes', 'empty', 'ids', '4 bytes'])
    const file = Buffer.concat(parts)
    expect(file).toEqual(Buffer.from(serializeSafetensors(tensors, { made: 'here' })))
    expect([...parseSafetensors(file).read('__proto__')]).toEqual([1, -2])
    const drain = async () => {
      for await (const _part of streamSafetensors(described, async () => new Float32Array(9))) parts.length = 0
    }
    await expect(drain()).rejects.toThrow(/__proto__ has 9 elements/)
  })

  test('a large tensor is encoded in pieces, into the type that was asked for', () => {
    const data = Float64Array.from({ length: 2 ** 22 + 1 }, (_, index) => index)
    const [first, second, ...more] = [...encodeElements('F32', data)]
    expect([first.length, second.length, more.length]).toEqual([2 ** 24, 4, 0])
    expect(new Float32Array(second.buffer)[0]).toBe(2 ** 22)
  })

  test('a shape that does not fit its data is refused by name', () => {
    expect(() => serializeSafetensors(new Map([['w', { shape: [3], data: new Float32Array(2) }]]))).toThrow(
      /w has 2 elements but its shape \[3\] takes 3/,
    )
  })
})

describe('damaged files are refused with the tensor and the fault', () => {
  const f32 = (begin: number, end: number, shape = [(end - begin) / 4]) => ({ dtype: 'F32', shape, data_offsets: [begin, end] })
  const cases: [string, Uint8Array, RegExp][] = [
    ['empty', new Uint8Array(0), /0 bytes; a safetensors file has at least 8/],
    ['header longer than the file', fixture.slice(0, 100), /header claims \d+ bytes but the file has 100/],
    ['absurd length', Uint8Array.from([255, 255, 255, 255, 255, 255, 255, 127, 0]), /header claims/],
    ['cut data', fixture.slice(0, fixture.length - 4), /is truncated/],
    ['trailing data', fileOf({ a: f32(0, 4) }, 8), /trailing data/],
    ['no JSON', fileOf('{"a"', 0), /header is not JSON/],
    ['no object', fileOf([1], 0), /must be a JSON object/],
    ['bad metadata', fileOf({ __metadata__: { a: 1 } }, 0), /__metadata__ must map strings to strings/],
    ['entry no object', fileOf({ a: 3 }, 0), /tensor a is not described/],
    ['unknown type', fileOf({ a: { dtype: 'F4', shape: [], data_offsets: [0, 0] } }, 0), /tensor a has element type F4; known are F64/],
    ['inherited name as type', fileOf({ a: { dtype: 'toString', shape: [], data_offsets: [0, 0] } }, 0), /element type toString/],
    ['negative extent', fileOf({ a: { dtype: 'F32', shape: [-1], data_offsets: [0, 4] } }, 4), /tensor a has shape \[-1\]/],
    ['bad offsets', fileOf({ a: { dtype: 'F32', shape: [1], data_offsets: [0] } }, 4), /tensor a has data_offsets \[0\]/],
    ['size that lies', fileOf({ a: f32(0, 4, [1000000000]) }, 4), /spans 4 bytes but F32 \[1000000000\] takes 4000000000/],
    ['overlap', fileOf({ a: f32(0, 8), b: f32(4, 12) }, 12), /tensor b overlaps/],
    ['gap at the start', fileOf({ a: f32(4, 8) }, 8), /tensor a leaves a gap/],
    ['offsets past the end', fileOf({ a: f32(0, 8) }, 4), /tensor a ends at byte \d+ of a file of \d+/],
    ['the same bytes twice', fileOf({ a: f32(0, 4), b: f32(0, 4) }, 4), /tensor b overlaps/],
    ['ends before it begins', fileOf({ a: { dtype: 'F32', shape: [1], data_offsets: [4, 0] } }, 4), /tensor a spans -4 bytes/],
    ['offsets below zero', fileOf({ a: { dtype: 'F32', shape: [1], data_offsets: [-4, 0] } }, 4), /data_offsets \[-4,0\]/],
    ['offsets in parts', fileOf({ a: { dtype: 'F32', shape: [1], data_offsets: [0.5, 4.5] } }, 5), /data_offsets \[0.5,4.5\]/],
    [
      'offsets past 2^53',
      fileOf({ a: { dtype: 'F32', shape: [1], data_offsets: [2 ** 53, 2 ** 53 + 4] } }, 4),
      /data_offsets \[9007199254740992/,
    ],
    ['offsets as text', fileOf({ a: { dtype: 'F32', shape: [1], data_offsets: ['0', '4'] } }, 4), /data_offsets \["0","4"\]/],
    ['infinite extent', fileOf('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', 4), /shape \[Infinity\]/],
    [
      'a product past all numbers',
      fileOf({ a: { dtype: 'U8', shape: Array(40).fill(2 ** 40), data_offsets: [0, 4] } }, 4),
      /takes Infinity/,
    ],
    [
      'a product of no number',
      fileOf({ a: { dtype: 'U8', shape: [...Array(40).fill(2 ** 40), 0], data_offsets: [0, 4] } }, 4),
      /takes NaN/,
    ],
    [
      'the same name twice',
      fileOf('{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"\\u0061":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', 4),
      /header has "a" twice/,
    ],
    ['the same entry twice', fileOf('{"a":{"dtype":"U8","dtype":"I32","shape":[4],"data_offsets":[0,4]}}', 4), /header has "dtype" twice/],
    ['metadata as text', fileOf({ __metadata__: 'pt' }, 0), /__metadata__ must map strings to strings/],
    ['a type that is a list', fileOf({ a: { dtype: [['F32']], shape: [], data_offsets: [0, 4] } }, 4), /element type \[\["F32"\]\]/],
    ['a header nested deeply', fileOf(`{"a":${'['.repeat(1e5)}${']'.repeat(1e5)}}`, 0), /tensor a is not described/],
    [
      'a shape nested deeply',
      fileOf(`{"a":{"dtype":"F32","shape":${'['.repeat(1e5)}${']'.repeat(1e5)}}}`, 0),
      /tensor a has shape \[\[\[\[…/,
    ],
    ['a name of a million letters', fileOf({ ['a'.repeat(1e6)]: 3 }, 0), /tensor a{120}… is not described/],
    ['bytes that are no text', fileOf('{"\uD800":1}', 0).map((byte, index) => (index === 10 ? 0xff : byte)), /header is not JSON/],
    ['header of 2^63 bytes', Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 128, 0]), /header claims 9223372036854776000 bytes but the file has 9/],
    ['gap', fileOf({ a: f32(0, 4), b: f32(8, 12) }, 12), /tensor b leaves a gap/],
  ]
  test.each(cases)('%s', (_name, bytes, message) => {
    let thrown: unknown
    try {
      parseSafetensors(bytes)
    } catch (error) {
      thrown = error
    }
    expect(isPhsaError(thrown, 'invalid-file')).toBe(true)
    expect((thrown as Error).message).toMatch(message)
  })

  test('no mutation of a file makes the reader crash or read outside it', () => {
    const small = serializeSafetensors(new Map([['a', { shape: [2, 2], data: Float32Array.from([1, 2, 3, 4]) }]]), { note: 'x' })
    fc.assert(
      fc.property(fc.nat(small.length - 1), fc.nat(255), fc.nat(small.length), (place, value, length) => {
        const mutated = small.slice(0, length)
        if (place < mutated.length) mutated[place] = value
        try {
          const file = parseSafetensors(mutated)
          for (const name of file.entries.keys()) file.read(name)
        } catch (error) {
          if (!isPhsaError(error, 'invalid-file')) throw error
        }
      }),
      { numRuns: 2000 },
    )
  })
})
