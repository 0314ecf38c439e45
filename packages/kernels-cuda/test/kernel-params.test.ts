import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as layouts from '../src/attention/kernel-params.js'
import { type FieldKind, type ParamLayout, type ParamValues, packParams } from '../src/attention/param-layout.js'

const KERNELS = new URL('../kernels/', import.meta.url)
const structs = structsOf(
  readdirSync(KERNELS)
    .filter((name) => /\.cuh?$/.test(name))
    .map((name) => readFileSync(new URL(name, KERNELS), 'utf8'))
    .join('\n'),
)
const SIZES: Readonly<Record<FieldKind, number>> = { pointer: 8, i64: 8, i32: 4, f32: 4 }

describe.each(Object.entries<ParamLayout>(layouts))('%s', (name, layout) => {
  test('has the members of the C struct, in its order', () => {
    expect(structs.get(name), `kernels/ has no struct ${name}`).toBeDefined()
    expect(Object.entries(layout).map(([field, kind]) => [field, typeof kind === 'object' ? nameOf(kind) : kind])).toEqual(
      structs.get(name),
    )
  })

  test('has no holes: members of 8 bytes come first, and nested structs are multiples of 8', () => {
    const bytes = sizeOf(layout)
    const packed = packParams(layout, zeros(layout)).length
    expect(packed).toBe(Math.ceil(bytes / 8) * 8)
    for (const nested of Object.values(layout)) if (typeof nested === 'object') expect(sizeOf(nested) % 8).toBe(0)
  })
})

test('every parameter struct of a kernel has a layout here', () => {
  const taken = [...structs.keys()].filter((name) => name.endsWith('Params') && name !== 'ConvertParams')
  expect(taken.filter((name) => !(name in layouts))).toEqual([])
})

/** Members of each struct that has nothing but members: name and kind, or the name of a nested struct. */
function structsOf(source: string): Map<string, [string, string][]> {
  const found = new Map<string, [string, string][]>()
  for (const [, name, body] of source.matchAll(/^struct (\w+) \{\n((?: {2}[\w* ]+;.*\n)+)\};/gm)) {
    found.set(
      name,
      [...body.matchAll(/^ {2}([\w* ]+?)(\w+);/gm)].map(([, type, member]) => [member, kindOf(type.trim())]),
    )
  }
  return found
}

function kindOf(type: string): string {
  if (type.endsWith('*')) return 'pointer'
  return { int: 'i32', float: 'f32', int64_t: 'i64' }[type] ?? type
}

function nameOf(layout: ParamLayout): string | undefined {
  return Object.entries<ParamLayout>(layouts).find(([, other]) => other === layout)?.[0]
}

function sizeOf(layout: ParamLayout): number {
  return Object.values(layout).reduce<number>((sum, kind) => sum + (typeof kind === 'object' ? sizeOf(kind) : SIZES[kind]), 0)
}

function zeros<L extends ParamLayout>(layout: L): ParamValues<L> {
  const values = Object.entries(layout).map(([field, kind]) => [
    field,
    typeof kind === 'object' ? zeros(kind) : kind === 'pointer' ? 0n : 0,
  ])
  return Object.fromEntries(values)
}
