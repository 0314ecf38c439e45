import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { Rules, Sequences } from '../src/attention/call-params.js'
import { MOST_PARAM_BYTES, PARAMS_BINDING } from '../src/device/kernel-launch.js'
import { type FieldKind, type ParamLayout, type ParamValues, packParams } from '../src/device/param-layout.js'

const sources = fileURLToPath(new URL('../src', import.meta.url))
const kernels = fileURLToPath(new URL('../kernels', import.meta.url))

/** Exported layouts with the shaders that their doc comment names: "`Params` of pool_blocks.wgsl." */
const layouts = readdirSync(sources, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .flatMap((name) =>
    [...readFileSync(join(sources, name), 'utf8').matchAll(/\/\*\* `Params` of ([^*]*)\*\/\nexport const (\w+) = /g)].map(
      ([, shaders, layout]) => ({ layout, module: join(sources, name), shaders: shaders.match(/\w+\.wgsl/g) ?? [] }),
    ),
  )
const shaders = readdirSync(kernels).filter((name) => name.endsWith('.wgsl'))

describe.each(layouts.flatMap(({ shaders, ...each }) => shaders.map((shader) => ({ ...each, shader }))))(
  '$layout',
  ({ layout, module, shader }) => {
    test(`has the members of Params in ${shader}, in its order`, async () => {
      const found = ((await import(module)) as Record<string, ParamLayout>)[layout]
      expect(membersOf(found)).toEqual(structOf(shader, 'Params'))
      expect(packParams(found, zeros(found)).byteLength).toBeLessThanOrEqual(MOST_PARAM_BYTES)
    })
  },
)

test.each(Object.entries({ Sequences, Rules }))(
  '%s has the members of the one in sequences.wgsl, a multiple of 16 bytes',
  (name, layout) => {
    expect(membersOf(layout)).toEqual(structOf('sequences.wgsl', name))
    expect(Object.keys(layout).length % 4).toBe(0)
  },
)

test('every shader with parameters has a layout', () => {
  const named = new Set(layouts.flatMap(({ shaders }) => shaders))
  const withParams = shaders.filter((name) => /^struct Params \{/m.test(read(name)))
  expect(withParams.filter((name) => !named.has(name))).toEqual([])
})

test('every shader with parameters has them where a launch binds them', () => {
  const declared = shaders.flatMap((name) => read(name).match(/^.*var<uniform>.*$/gm) ?? [])
  expect(declared.length).toBeGreaterThan(0)
  expect(new Set(declared)).toEqual(new Set([`@group(0) @binding(${PARAMS_BINDING}) var<uniform> params: Params;`]))
})

test('numbers are packed at multiples of four bytes, nested structs in place, and the whole is a multiple of 16', () => {
  const layout = { first: 'u32', inner: { low: 'i32', high: 'f32' } } as const
  const packed = packParams(layout, { first: 2 ** 32 - 1, inner: { low: -2, high: 0.5 } })
  expect([...new Uint32Array(packed.buffer)]).toEqual([2 ** 32 - 1, 2 ** 32 - 2, 0x3f000000, 0])
})

function read(shader: string): string {
  return readFileSync(join(kernels, shader), 'utf8')
}

/** Members of a WGSL struct: name and type. */
function structOf(shader: string, name: string): [string, string][] {
  const body = new RegExp(`^struct ${name} \\{\\n([^}]*)\\}`, 'm').exec(read(shader))?.[1] ?? ''
  return [...body.matchAll(/^ *(\w+): *([\w<>]+),/gm)].map(([, member, type]) => [member, type])
}

function membersOf(layout: ParamLayout): [string, string][] {
  return Object.entries(layout).map(([field, kind]) => [
    field,
    typeof kind === 'string' ? kind : kind === Sequences ? 'Sequences' : kind === Rules ? 'Rules' : '?',
  ])
}

function zeros(layout: ParamLayout): ParamValues<ParamLayout> {
  const zero = (kind: FieldKind | ParamLayout) => (typeof kind === 'string' ? 0 : zeros(kind))
  return Object.fromEntries(Object.entries(layout).map(([field, kind]) => [field, zero(kind)])) as ParamValues<ParamLayout>
}
