import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as attentionLayouts from '../src/attention/kernel-params.js'
import { type FieldKind, type ParamLayout, type ParamValues, packParams } from '../src/attention/param-layout.js'
import * as opLayouts from '../src/ops/op-params.js'
import * as layerLayouts from '../src/paged/decode-layers-params.js'
import * as productLayouts from '../src/products/product-params.js'

/** What a launch may hand over on every GPU, bytes. */
const MOST_BYTES = 4096
const KERNELS = new URL('../kernels/', import.meta.url)
const layouts: Readonly<Record<string, ParamLayout>> = { ...attentionLayouts, ...opLayouts, ...layerLayouts, ...productLayouts }
const structs = structsOf(
  readdirSync(KERNELS)
    .filter((name) => /\.cuh?$/.test(name))
    .map((name) => readFileSync(new URL(name, KERNELS), 'utf8'))
    .join('\n'),
)
const SIZES: Readonly<Record<FieldKind, number>> = { pointer: 8, i64: 8, i32: 4, f32: 4 }

describe.each(Object.entries(layouts))('%s', (name, layout) => {
  test('has the members of the C struct, in its order', () => {
    expect(structs.get(name), `kernels/ has no struct ${name}`).toBeDefined()
    expect(Object.entries(layout).map(([field, kind]) => [field, describeKind(kind)])).toEqual(structs.get(name))
  })

  test('has no holes: members of 8 bytes come first, and nested structs are multiples of 8', () => {
    const bytes = sizeOf(layout)
    const packed = packParams(layout, zeros(layout)).length
    expect(packed).toBe(Math.ceil(bytes / 8) * 8)
    expect(packed).toBeLessThanOrEqual(MOST_BYTES)
    for (const kind of Object.values(layout)) {
      if (typeof kind === 'object') expect(sizeOf(isArray(kind) ? kind[0] : kind) % 8).toBe(0)
    }
  })
})

test('every parameter struct of a kernel has a layout here', () => {
  const taken = [...structs.keys()].filter((name) => name.endsWith('Params') && name !== 'ConvertParams')
  expect(taken.filter((name) => !(name in layouts))).toEqual([])
})

test('structs of an array follow each other, and those behind the used ones are zeros', () => {
  const layout = { items: [{ address: 'pointer', count: 'i32', rest: 'i32' }, 3], last: 'i64' } as const
  const packed = packParams(layout, { items: [{ address: 5n, count: 6, rest: 7 }], last: 8 })
  expect([...new BigInt64Array(packed.slice().buffer)]).toEqual([5n, (7n << 32n) + 6n, 0n, 0n, 0n, 0n, 8n])
  const four = Array.from({ length: 4 }, () => ({ address: 0n, count: 0, rest: 0 }))
  expect(() => packParams(layout, { items: four, last: 0 })).toThrow('room for 3 structs, not 4')
})

/** Members of each struct that has nothing but members: name and kind, or the name of a nested struct, with its number in an array. */
function structsOf(source: string): Map<string, [string, string][]> {
  const found = new Map<string, [string, string][]>()
  for (const [, name, body] of source.matchAll(/^struct (\w+) \{\n((?: {2}[\w* ]+(?:\[\d+\])?;.*\n)+)\};/gm)) {
    found.set(
      name,
      [...body.matchAll(/^ {2}([\w* ]+?)(\w+)(\[\d+\])?;/gm)].map(([, type, member, count = '']) => [member, kindOf(type.trim()) + count]),
    )
  }
  return found
}

function kindOf(type: string): string {
  if (type.endsWith('*')) return 'pointer'
  return { int: 'i32', float: 'f32', int64_t: 'i64' }[type] ?? type
}

function describeKind(kind: ParamLayout[string]): string | undefined {
  if (isArray(kind)) return `${nameOf(kind[0])}[${kind[1]}]`
  return typeof kind === 'object' ? nameOf(kind) : kind
}

function nameOf(layout: ParamLayout): string | undefined {
  return Object.entries(layouts).find(([, other]) => other === layout)?.[0]
}

function sizeOf(layout: ParamLayout): number {
  return Object.values(layout).reduce<number>((sum, kind) => {
    if (isArray(kind)) return sum + kind[1] * sizeOf(kind[0])
    return sum + (typeof kind === 'object' ? sizeOf(kind) : SIZES[kind])
  }, 0)
}

function zeros<L extends ParamLayout>(layout: L): ParamValues<L> {
  const values = Object.entries(layout).map(([field, kind]) => [
    field,
    isArray(kind) ? [] : typeof kind === 'object' ? zeros(kind) : kind === 'pointer' ? 0n : 0,
  ])
  return Object.fromEntries(values)
}

function isArray(kind: ParamLayout[string]): kind is readonly [ParamLayout, number] {
  return Array.isArray(kind)
}
