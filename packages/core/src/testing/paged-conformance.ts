import type { AttentionBackend } from '../contract/attention-backend.js'
import type { PagedBatch, PagedCache } from '../contract/paged-attention.js'
import { RandomStream } from '../random-stream.js'
import type { TestedDType } from './attention-case.js'
import { lseCheck } from './attention-errors.js'
import { type AttentionInputs, attentionInputs, hostTokenWeights, normals } from './attention-inputs.js'
import { AttentionOracle } from './attention-oracle.js'
import type { CaseContext, ConformanceCase } from './conformance-case.js'
import type { PagedCase } from './paged-case.js'
import { pagedCases } from './paged-cases.js'
import { assignPages, type PagedResult, pagesNeeded, runSchedule } from './paged-run.js'
import { Probe } from './probe.js'
import { relativeCheck, rowwiseCheck } from './relative-error.js'
import { rounded } from './rounded.js'
import { selectionChecks } from './selection-check.js'
import { identityCheck, type TensorCheck } from './tensor-check.js'
import { tolerancesFor } from './tolerances.js'
import { worstChecks } from './worst-checks.js'

/** The paged cases with each of their element types. */
export function pagedConformance(): ConformanceCase[] {
  return pagedCases().flatMap((pagedCase) =>
    pagedCase.dtypes.map((dtype) => ({
      name: `${dtype}/paged/${pagedCase.name}`,
      dtype,
      needs: 'attention' as const,
      specs: [{ ...pagedCase.spec, dtype }],
      flops: 0,
      run: (context: CaseContext) => runPagedCase(context, pagedCase, dtype),
    })),
  )
}

async function runPagedCase({ backend, reference }: CaseContext, pagedCase: PagedCase, dtype: TestedDType): Promise<TensorCheck[]> {
  const spec = { ...pagedCase.spec, dtype }
  const oracles = sequenceInputs(pagedCase, dtype).map((inputs, index) => {
    const { topK, denseBelow } = pagedCase.sequences[index]
    return new AttentionOracle(reference, { ...spec, topK, denseBelow }, inputs)
  })
  const probe = new Probe(backend)
  try {
    const lambda = probe.input('lambda', Float32Array.from(pagedCase.lambda), [spec.kvHeads], 'f32')
    const cache = probe.own(backend.paged.createCache({ spec, pages: pagesNeeded(pagedCase), pageTokens: pagedCase.pageTokens, lambda }))
    fillPages(probe, cache, pagedCase.pagesHold)
    const checks: TensorCheck[] = []
    let first: readonly PagedResult[] | undefined
    for (const [index, { name, steps, atOnce }] of runsOf(backend, pagedCase, dtype).entries()) {
      const run = { pagedCase, spec, cache, oracles, pages: assignPages(pagedCase, pagedCase.seed + index), atOnce }
      const { results, checks: layoutChecks } = await runSchedule(backend, run, steps)
      const found = [...layoutChecks]
      for (const [sequence, result] of results.entries()) {
        found.push(...(await compare(result, oracles[sequence], pagedCase.sequences[sequence].shared?.tokens ?? 0)))
        if (first && dtype === 'f32') found.push(identityCheck('selected as in the first split', result.selected, first[sequence].selected))
      }
      first ??= results
      checks.push(...worstChecks(found).map((check) => ({ ...check, name: `${name}: ${check.name}` })))
    }
    return [...checks, ...(await probe.canaries())]
  } finally {
    probe.dispose()
  }
}

/** Each schedule, and where the backend takes steps at once, which is for 16 bits, those with decoding in them once more. */
function runsOf({ paged }: AttentionBackend, { schedules }: PagedCase, dtype: TestedDType) {
  const runs = Object.entries(schedules).map(([name, steps]) => ({ name, steps, atOnce: false }))
  const decodes = runs.filter(({ steps }) => paged.step && dtype !== 'f32' && steps.some((counts) => Math.max(...counts) === 1))
  return [...runs, ...decodes.map(({ name, steps }) => ({ name: `${name}, at once`, steps, atOnce: true }))]
}

/** Inputs of each sequence by itself; a shared beginning is copied from the sequence that owns it. */
function sequenceInputs(pagedCase: PagedCase, dtype: TestedDType): AttentionInputs[] {
  const { spec, sequences, lambda, inputs: kind, seed } = pagedCase
  const all: AttentionInputs[] = []
  for (const [index, { length, shared }] of sequences.entries()) {
    const common = { name: pagedCase.name, keyLengths: [length], lambda, inputs: kind, dtypes: [], checks: [] }
    const inputs = attentionInputs({ ...common, spec, seed: seed + index }, dtype)
    if (shared) {
      const width = spec.kvHeads * spec.headDim
      const owner = all[shared.sequence]
      inputs.k.set(owner.k.subarray(0, shared.tokens * width))
      inputs.v.set(owner.v.subarray(0, shared.tokens * width))
      inputs.punctuation.set(owner.punctuation.subarray(0, shared.tokens))
    }
    all.push({ ...inputs, weights: hostTokenWeights(inputs.punctuation, inputs.layout, lambda, spec.kvHeads, spec.representatives) })
  }
  return all
}

/** @param skip first tokens, which were another sequence's and have no results here */
async function compare(result: PagedResult, oracle: AttentionOracle, skip: number): Promise<TensorCheck[]> {
  const { spec, inputs } = oracle
  const tolerance = tolerancesFor(spec.dtype)
  const expected = await oracle.attended()
  const { largestScore } = await oracle.magnitude()
  const width = spec.heads * spec.headDim
  const out = result.out.subarray(skip * width)
  const expectedOut = expected.out.subarray(skip * width)
  const rows = skip * spec.heads
  const selected = result.selected.slice()
  const T = inputs.layout.totalTokens
  const known = await oracle.selected()
  for (let kvHead = 0; kvHead < spec.kvHeads; kvHead++) {
    const start = kvHead * T * spec.topK
    selected.set(known.subarray(start, start + skip * spec.topK), start)
  }
  return [
    relativeCheck('out', out, expectedOut, tolerance.relative),
    rowwiseCheck('out', out, expectedOut, spec.headDim, tolerance.row),
    lseCheck('lse', result.lse.subarray(rows), expected.lse.subarray(rows), largestScore.subarray(rows), tolerance.lse),
    ...selectionChecks('selected', selected, await oracle.scores(), inputs.layout, spec, tolerance.selection),
  ]
}

/** Lets one long sequence fill every page, so that what follows meets its remains. */
function fillPages(probe: Probe, cache: PagedCache, content: PagedCase['pagesHold']): void {
  if (content === 'nothing') return
  const { spec, pages, pageTokens } = cache.options
  const tokens = pages * pageTokens
  const shape = [tokens, spec.kvHeads, spec.headDim]
  const count = tokens * spec.kvHeads * spec.headDim
  const data = content === 'nan' ? new Float32Array(count).fill(Number.NaN) : rounded(normals(new RandomStream(5), count, 8), spec.dtype)
  const batch: PagedBatch = {
    sequences: 1,
    queryTokens: tokens,
    maxQueries: tokens,
    maxKeys: tokens,
    maxTopK: spec.topK,
    queryStarts: probe.input('queryStarts', Int32Array.of(0, tokens), [2], 'i32'),
    keyLengths: probe.input('keyLengths', Int32Array.of(tokens), [1], 'i32'),
    pageTable: probe.input(
      'pageTable',
      Int32Array.from({ length: pages }, (_, page) => page),
      [1, pages],
      'i32',
    ),
    topK: probe.input('topK', Int32Array.of(spec.topK), [1], 'i32'),
    denseBelow: probe.input('denseBelow', Int32Array.of(0), [1], 'i32'),
  }
  const marks = probe.input('marks', new Float32Array(tokens).fill(1), [tokens], 'f32')
  probe.backend.paged.append(cache, probe.input('k', data, shape, spec.dtype), probe.input('v', data, shape, spec.dtype), marks, batch)
}
