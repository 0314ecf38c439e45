import type { AttentionSpec } from '../contract/attention-spec.js'
import type { PagedBatch, PagedCache } from '../contract/paged-attention.js'
import type { HostArray, Tensor } from '../contract/tensor.js'
import { RandomStream } from '../random-stream.js'
import type { AttentionOracle } from './attention-oracle.js'
import { padRows, type RowShape, usedRows } from './padded-rows.js'
import type { PagedCase } from './paged-case.js'
import { Probe } from './probe.js'
import { relativeCheck } from './relative-error.js'
import type { TensorCheck } from './tensor-check.js'
import { tolerancesFor } from './tolerances.js'

/** What a schedule gave for one sequence: all its own rows in order, as one prefill would return them. */
export interface PagedResult {
  /** [T, Hq, D] */
  readonly out: Float64Array
  /** [T, Hq] */
  readonly lse: Float64Array
  /** [Hkv, T, topK of the sequence] */
  readonly selected: Int32Array
}

/** A cache being filled by a schedule. */
export interface PagedRun {
  readonly pagedCase: PagedCase
  readonly spec: AttentionSpec
  readonly cache: PagedCache
  /** Pages of each sequence in order; shared ones included. */
  readonly pages: readonly (readonly number[])[]
  /** Expected values of each sequence. */
  readonly oracles: readonly AttentionOracle[]
  /** Whether steps are taken by `PagedAttention.step` where the backend has that. */
  readonly atOnce: boolean
}

/** Pages that the case's sequences need, shared ones counted for each. */
export function pagesNeeded({ sequences, pageTokens }: PagedCase): number {
  return sequences.reduce((sum, { length }) => sum + Math.ceil(length / pageTokens), 0) + 2
}

/** Gives each sequence pages in no order. */
export function assignPages(pagedCase: PagedCase, seed: number): number[][] {
  const random = new RandomStream(seed)
  const free = Array.from({ length: pagesNeeded(pagedCase) }, (_, page) => page)
  const assigned: number[][] = []
  for (const { length, shared } of pagedCase.sequences) {
    const pages = shared ? assigned[shared.sequence].slice(0, shared.tokens / pagedCase.pageTokens) : []
    while (pages.length < Math.ceil(length / pagedCase.pageTokens)) pages.push(...free.splice(random.below(free.length), 1))
    assigned.push(pages)
  }
  return assigned
}

/** Runs all steps of a schedule. Attention uses the reference's choice; the backend's own is returned. */
export async function runSchedule(
  backend: Probe['backend'],
  run: PagedRun,
  steps: readonly (readonly number[])[],
): Promise<{ readonly results: readonly PagedResult[]; readonly checks: readonly TensorCheck[] }> {
  const { heads, kvHeads, headDim } = run.spec
  const lengths = run.pagedCase.sequences.map(({ shared }) => shared?.tokens ?? 0)
  const results = run.pagedCase.sequences.map(({ length, topK }) => ({
    out: new Float64Array(length * heads * headDim).fill(Number.NaN),
    lse: new Float64Array(length * heads).fill(Number.NaN),
    selected: new Int32Array(kvHeads * length * topK).fill(-2),
  }))
  const checks: TensorCheck[] = []
  for (const [index, counts] of steps.entries()) {
    const probe = new Probe(backend)
    try {
      checks.push(...(await runStep(probe, run, lengths, counts, results, index)))
    } finally {
      probe.dispose()
    }
    for (const [sequence, count] of counts.entries()) lengths[sequence] += count
  }
  return { results, checks }
}

async function runStep(
  probe: Probe,
  run: PagedRun,
  lengths: readonly number[],
  counts: readonly number[],
  results: readonly PagedResult[],
  index: number,
): Promise<TensorCheck[]> {
  const { spec, cache, oracles } = run
  const { heads, kvHeads, headDim, dtype } = spec
  const { paged } = probe.backend
  const chosen = await Promise.all(oracles.map((oracle) => oracle.selected()))
  const sources = counts.flatMap((count, sequence) =>
    Array.from({ length: count }, (_, row) => ({ sequence, token: lengths[sequence] + row })),
  )
  // A full step without padding comes up too.
  const rows = { groups: 1, rows: sources.length, capacity: sources.length + (index % 2 === 0 ? run.pagedCase.spare.rows : 0) }
  const gather = (data: (sequence: number) => ArrayLike<number>, width: number) => {
    const packed = Float32Array.from({ length: sources.length * width }, (_, element) => {
      const { sequence, token } = sources[Math.floor(element / width)]
      return data(sequence)[token * width + (element % width)]
    })
    return padRows(packed, { ...rows, width }, Number.NaN)
  }
  const maxTopK = Math.max(...run.pagedCase.sequences.map(({ topK }) => topK))
  const batch = uploadBatch(probe, run, lengths, counts, rows.capacity, maxTopK)
  const q = probe.input(
    'q',
    gather((sequence) => oracles[sequence].inputs.q, heads * headDim),
    [rows.capacity, heads, headDim],
    dtype,
  )
  const k = probe.input(
    'k',
    gather((sequence) => oracles[sequence].inputs.k, kvHeads * headDim),
    [rows.capacity, kvHeads, headDim],
    dtype,
  )
  const v = probe.input(
    'v',
    gather((sequence) => oracles[sequence].inputs.v, kvHeads * headDim),
    [rows.capacity, kvHeads, headDim],
    dtype,
  )
  const marks = probe.input(
    'marks',
    gather((sequence) => oracles[sequence].inputs.punctuation, 1),
    [rows.capacity],
    'f32',
  )
  const given = new Int32Array(kvHeads * sources.length * maxTopK).fill(-1)
  eachSelectedRow(run, sources, maxTopK, (place, sequence, first, topK) => given.set(chosen[sequence].subarray(first, first + topK), place))
  const selectedRows = { ...rows, groups: kvHeads, width: maxTopK }
  const selected = probe.input('selected', padRows(given, selectedRows, -1), [kvHeads, rows.capacity, maxTopK], 'i32')
  const downloads = await probe.call((): Record<string, Tensor> => {
    const step = run.atOnce ? paged.step?.(cache, { q, k, v, marks }, batch) : undefined
    if (!step) paged.append(cache, k, v, marks, batch)
    const own = step?.selected ?? paged.selectBlocks(cache, q, batch)
    const attended = { own, ...paged.attend(cache, q, selected, batch) }
    if (!step) return attended
    const { out, lse } = paged.attend(cache, q, own, batch)
    return { ...attended, stepOut: step.out, stepLse: step.lse, ownOut: out, ownLse: lse }
  })
  const out = usedRows('out', downloads.out, { ...rows, width: heads * headDim }, 0)
  const lse = usedRows('lse', downloads.lse, { ...rows, width: heads }, Number.NEGATIVE_INFINITY)
  const own = usedRows('selected', downloads.own, selectedRows, -1)
  for (const [row, { sequence, token }] of sources.entries()) {
    copyRow(out.used, row, results[sequence].out, token, heads * headDim)
    copyRow(lse.used, row, results[sequence].lse, token, heads)
  }
  const unused: TensorCheck[] = []
  eachSelectedRow(run, sources, maxTopK, (place, sequence, first, topK) => {
    results[sequence].selected.set(own.used.subarray(place, place + topK), first)
    const rest = own.used.subarray(place + topK, place + maxTopK)
    if (rest.some((block) => block !== -1))
      unused.push({ name: 'selected beyond topK', measured: 1, bound: 0, ok: false, detail: `sequence ${sequence} has ${rest}` })
  })
  const stepped = downloads.stepOut ? stepChecks(downloads, rows, spec) : []
  return [...out.checks, ...lse.checks, ...own.checks, ...unused, ...stepped, ...(await probe.canaries())]
}

/** A step at once against attention by itself, after the same choice. */
function stepChecks(
  downloads: Record<string, HostArray>,
  rows: Omit<RowShape, 'width'>,
  { heads, headDim, dtype }: AttentionSpec,
): TensorCheck[] {
  const { relative } = tolerancesFor(dtype)
  const used = (name: string, width: number, rest: number) => usedRows(name, downloads[name], { ...rows, width }, rest)
  const out = used('stepOut', heads * headDim, 0)
  const lse = used('stepLse', heads, Number.NEGATIVE_INFINITY)
  return [
    ...out.checks,
    ...lse.checks,
    relativeCheck('step out', out.used, used('ownOut', heads * headDim, 0).used, relative),
    relativeCheck('step lse', lse.used, used('ownLse', heads, Number.NEGATIVE_INFINITY).used, relative),
  ]
}

/** For each KV head and row: its place in the step's `selected` and the first entry in the sequence's own. */
function eachSelectedRow(
  { pagedCase, spec }: PagedRun,
  sources: readonly { sequence: number; token: number }[],
  maxTopK: number,
  visit: (place: number, sequence: number, first: number, topK: number) => void,
): void {
  for (let kvHead = 0; kvHead < spec.kvHeads; kvHead++) {
    for (const [row, { sequence, token }] of sources.entries()) {
      const { topK, length } = pagedCase.sequences[sequence]
      visit((kvHead * sources.length + row) * maxTopK, sequence, (kvHead * length + token) * topK, topK)
    }
  }
}

function copyRow(from: HostArray, row: number, to: Float64Array, target: number, width: number): void {
  to.set(from.subarray(row * width, (row + 1) * width), target * width)
}

function uploadBatch(
  probe: Probe,
  { pagedCase, pages }: PagedRun,
  lengths: readonly number[],
  counts: readonly number[],
  queryTokens: number,
  maxTopK: number,
): PagedBatch {
  const { sequences, pageTokens, spare } = pagedCase
  const S = sequences.length + spare.sequences
  const starts = new Int32Array(S + 1)
  for (let sequence = 0; sequence < S; sequence++) starts[sequence + 1] = starts[sequence] + (counts[sequence] ?? 0)
  const keys = Int32Array.from({ length: S }, (_, sequence) =>
    sequence < counts.length ? keysAfter(pagedCase, sequence, lengths[sequence], counts[sequence]) : 0,
  )
  const P = Math.max(...pages.map((own) => own.length)) + 1
  const table = new Int32Array(S * P).fill(-1)
  for (const [sequence, own] of pages.entries()) table.set(own.slice(0, Math.ceil(keys[sequence] / pageTokens)), sequence * P)
  const perSequence = (value: (sequence: (typeof sequences)[number]) => number) =>
    Int32Array.from({ length: S }, (_, index) => (index < sequences.length ? value(sequences[index]) : 0))
  return {
    sequences: S,
    queryTokens,
    maxQueries: Math.max(1, ...counts),
    maxKeys: Math.max(1, ...keys),
    maxTopK,
    queryStarts: probe.input('queryStarts', starts, [S + 1], 'i32'),
    keyLengths: probe.input('keyLengths', keys, [S], 'i32'),
    pageTable: probe.input('pageTable', table, [S, P], 'i32'),
    topK: probe.input(
      'topK',
      perSequence(({ topK }) => topK),
      [S],
      'i32',
    ),
    denseBelow: probe.input(
      'denseBelow',
      perSequence(({ denseBelow }) => denseBelow),
      [S],
      'i32',
    ),
  }
}

/** A sequence that has not begun holds nothing, its shared pages included. */
function keysAfter({ sequences }: PagedCase, sequence: number, length: number, count: number): number {
  return count === 0 && length === (sequences[sequence].shared?.tokens ?? 0) ? 0 : length + count
}
