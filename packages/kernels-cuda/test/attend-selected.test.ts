import type { AttentionSpec } from '@phsa/core'
import { expect, test } from 'vitest'
import { attendSelected } from '../src/attention/attend-selected.js'
import { rulesOf } from '../src/attention/call-params.js'
import type { KernelMemory } from '../src/attention/kernel-host.js'
import type { KernelLaunch } from '../src/driver/kernel-launch.js'
import { HOPPER_SPEC } from './hopper-spec.js'

const MULTIPROCESSORS = 132
const MOST_BYTES = 2 ** 29

test.each<[number, Partial<AttentionSpec>]>([
  [1, {}],
  [32768, {}],
  [131072, {}],
  [131072, { heads: 32 }],
  [32768, { heads: 32, kvHeads: 2, blockSize: 64, topK: 55 }],
  [2 ** 20, { kvHeads: 16 }],
])('%i tokens of %j: slabs within their memory cover all rows and KV heads, lists all chunks', (tokens, change) => {
  const { launches, scratches, spec } = run(tokens, change)
  const slabs = launches.filter(({ kernel }) => kernel.startsWith('attend_selected')).map(slabOf)
  const rows = slabs[0].sectionRows
  const sections = Math.ceil(tokens / rows)
  for (let section = 0; section < sections; section++) {
    const heads = slabs.filter((slab) => slab.section === section)
    expect(heads.map(({ firstHead }) => firstHead)).toEqual(heads.map((_, at) => at * heads[0].slabHeads))
    expect(heads.reduce((sum, { slabHeads }) => sum + slabHeads, 0)).toBe(spec.kvHeads)
  }
  expect(slabs.length).toBe(launches.filter(({ kernel }) => kernel.startsWith('merge_selected')).length)
  const [, partials] = scratches
  expect(partials).toBeLessThanOrEqual(MOST_BYTES)
  expect(partials).toBe(slabs[0].slabHeads * rows * spec.topK * (spec.heads / spec.kvHeads) * 260)

  const [fill] = launches.filter(({ kernel }) => kernel === 'fill_block_lists')
  expect(fill.grid[2]).toBe(spec.kvHeads * sections)
  expect(fill.grid[1] * ((fill.sharedBytes ?? 0) / 12)).toBeGreaterThanOrEqual(Math.ceil(tokens / spec.blockSize))
  const chunkRows = last(fill, 2)
  expect(chunkRows % 32).toBe(0)
  expect(fill.grid[0] * chunkRows).toBeGreaterThanOrEqual(rows)
})

test('nothing is launched where nothing can be selected', () => {
  expect(run(1000, { topK: 0 }).launches).toEqual([])
})

/** Member of a kernel's parameters, `fromEnd` ints before the end of the struct. */
function last({ params }: KernelLaunch, fromEnd: number): number {
  return new DataView(params.buffer, params.byteOffset).getInt32(params.length - 4 * fromEnd, true)
}

function slabOf(launch: KernelLaunch) {
  const [section, sectionRows, firstHead, slabHeads] = [4, 3, 2, 1].map((fromEnd) => last(launch, fromEnd))
  return { section, sectionRows, firstHead, slabHeads }
}

/** What attendSelected launches for one sequence, and the scratch memory that it takes, bytes. */
function run(tokens: number, change: Partial<AttentionSpec>) {
  const spec = { ...HOPPER_SPEC, ...change }
  const launches: KernelLaunch[] = []
  const scratches: number[] = []
  const device = { multiprocessors: MULTIPROCESSORS, hasKernel: () => true, launch: (launch: KernelLaunch) => launches.push(launch) }
  const memory = {
    scratch(bytes: number, use: (scratch: { address: bigint }) => unknown) {
      scratches.push(bytes)
      return use({ address: 4096n })
    },
  } as unknown as KernelMemory
  const call = {
    q: 1n,
    k: 2n,
    v: 3n,
    selected: 4n,
    out: 5n,
    lse: 6n,
    flag: 7n,
    sequences: {
      queryStarts: 8n,
      keyStarts: 9n,
      blockStarts: 10n,
      keyLengths: 0n,
      pageTable: 0n,
      topK: 0n,
      denseBelow: 0n,
      sequences: 1,
      queryTokens: tokens,
      keyTokens: tokens,
      blocks: Math.ceil(tokens / spec.blockSize),
      pagesPerSequence: 0,
      pageTokens: 0,
    },
    rules: rulesOf(spec),
  }
  attendSelected(device, memory, spec, call, MOST_BYTES)
  return { launches, scratches, spec }
}
