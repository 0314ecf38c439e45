import type { PagedBatch } from '../../contract/paged-attention.js'
import type { Tensor } from '../../contract/tensor.js'
import { phsaAttention, phsaAttentionBackward } from '../../phsa-attention.js'
import { RandomStream } from '../../random-stream.js'
import { writeLayout } from '../../upload-layout.js'
import type { AttentionCase, TestedDType } from '../attention-case.js'
import { type AttentionInputs, attentionInputs, normals } from '../attention-inputs.js'
import { type AttentionProblem, probeProblem } from '../attention-problem.js'
import { BASE_SPEC } from '../base-spec.js'
import { evaluate, Probe } from '../probe.js'
import { relativeCheck } from '../relative-error.js'
import { type CaptureBackend, replayed, withCapture } from '../replayed.js'
import { rounded } from '../rounded.js'
import type { TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

/** As many tokens each, so that one capacity holds all; the second is what the step is recorded with. */
const LENGTHS = [[60, 40], [100], [7, 93]] as const
const CAPACITY = { sequences: 2, blocks: 9, maxBlocks: 7, maxQueries: 100 }

function attentionCase(keyLengths: readonly number[]): AttentionCase {
  return { name: 'capture', spec: BASE_SPEC, keyLengths, lambda: 0.5, inputs: 'normal', seed: keyLengths[0], dtypes: [], checks: [] }
}

/** Attention and its gradients, recorded once and replayed with other inputs and another layout, against plain calls. */
export async function checkCapturedAttention(backend: CaptureBackend, dtype: TestedDType): Promise<TensorCheck[]> {
  const spec = { ...BASE_SPEC, dtype }
  const inputs = LENGTHS.map((lengths) => attentionInputs(attentionCase(lengths), dtype))
  const probe = new Probe(backend)
  try {
    const problem = await probeProblem(probe, inputs[1], spec, CAPACITY)
    const { k, layout } = problem
    const dReps = probe.changing(
      normals(new RandomStream(2), spec.kvHeads * layout.blocks * spec.headDim),
      [spec.kvHeads, layout.blocks, spec.headDim],
      'f32',
    )
    // Added to by each run: a recording that ran twice, or while it was made, would show.
    const summed = probe.changing(new Float32Array(inputs[1].k.length), k.shape, dtype)
    const step = () => {
      backend.attention.poolBlocksBackward({ ...problem, dReps, dk: summed })
      const output = phsaAttention(backend, problem)
      return { out: output.out, lse: output.lse, ...phsaAttentionBackward(backend, problem.dOut, problem, output) }
    }
    return await withCapture(backend, step, async (captured) => {
      const checks: TensorCheck[] = []
      for (const [index, each] of [...inputs, inputs[0]].entries()) {
        writeProblem(backend, problem, each)
        backend.memory.zero(summed)
        const actual = { ...(await replayed(backend, captured)), summed: await backend.memory.download(summed) }
        backend.memory.zero(summed)
        const expected = { ...(await evaluate(backend, step)), summed: await backend.memory.download(summed) }
        const bound = tolerancesFor(dtype).relative
        for (const name of ['out', 'lse', 'dq', 'dk', 'dv', 'summed'] as const) {
          checks.push(relativeCheck(`${name}, replay ${index}`, actual[name], expected[name], bound))
        }
      }
      return checks
    })
  } finally {
    probe.dispose()
  }
}

function writeProblem({ memory }: CaptureBackend, { q, k, v, dOut, weights, layout }: AttentionProblem, inputs: AttentionInputs): void {
  memory.write(q, inputs.q)
  memory.write(k, inputs.k)
  memory.write(v, inputs.v)
  memory.write(dOut, inputs.dOut)
  if (weights.kind === 'fused' && inputs.weights.kind === 'fused') memory.write(weights.weights, inputs.weights.weights)
  writeLayout(memory, layout, inputs.layout)
}

const PAGE_TOKENS = 16
const PAGES = 8
const SEQUENCES = 2
/** Tokens in the cache before the first step: the second sequence crosses into another page. */
const HELD = [70, 45]
const STEPS = 5

/** Decode steps, recorded once and replayed with the next tokens, lengths and pages, against plain steps on a cache of their own. */
export async function checkCapturedDecode(backend: CaptureBackend, dtype: TestedDType): Promise<TensorCheck[]> {
  const spec = { ...BASE_SPEC, dtype }
  const { memory, paged } = backend
  const probe = new Probe(backend)
  try {
    const random = new RandomStream(3)
    const values = (rows: number, heads: number) => rounded(normals(random, rows * heads * spec.headDim), dtype)
    const integers = (...data: number[]) => probe.changing(Int32Array.from(data), [data.length], 'i32')
    const tensors = (rows: number) => ({
      q: probe.changing(values(rows, spec.heads), [rows, spec.heads, spec.headDim], dtype),
      k: probe.changing(values(rows, spec.kvHeads), [rows, spec.kvHeads, spec.headDim], dtype),
      v: probe.changing(values(rows, spec.kvHeads), [rows, spec.kvHeads, spec.headDim], dtype),
      marks: probe.changing(
        Float32Array.from({ length: rows }, (_, row) => (row % 4 === 0 ? 1 : 0)),
        [rows],
        'f32',
      ),
    })
    const shared = {
      sequences: SEQUENCES,
      maxKeys: PAGES * PAGE_TOKENS,
      maxTopK: spec.topK,
      keyLengths: integers(...HELD),
      pageTable: probe.changing(pageTable(0), [SEQUENCES, PAGES], 'i32'),
      topK: integers(spec.topK, 1),
      denseBelow: integers(0, 0),
    }
    const rows = HELD[0] + HELD[1]
    const prompt: PagedBatch = { ...shared, queryTokens: rows, maxQueries: Math.max(...HELD), queryStarts: integers(0, HELD[0], rows) }
    const batch: PagedBatch = { ...shared, queryTokens: SEQUENCES, maxQueries: 1, queryStarts: integers(0, 1, 2) }
    const lambda = probe.changing(Float32Array.of(0.3, 0.7), [spec.kvHeads], 'f32')
    const [plain, recorded] = [1, 2].map(() =>
      probe.own(paged.createCache({ spec, pages: SEQUENCES * PAGES, pageTokens: PAGE_TOKENS, lambda })),
    )
    const first = tensors(rows)
    for (const cache of [plain, recorded]) paged.append(cache, first.k, first.v, first.marks, prompt)
    const token = tensors(SEQUENCES)
    const step = (cache: typeof plain) => (): { out: Tensor; selected: Tensor } => {
      paged.append(cache, token.k, token.v, token.marks, batch)
      const selected = paged.selectBlocks(cache, token.q, batch)
      return { selected, out: paged.attend(cache, token.q, selected, batch).out }
    }
    const checks: TensorCheck[] = []
    // The first step is not recorded: it compiles what there is to compile.
    const write = (index: number) => {
      memory.write(token.q, values(SEQUENCES, spec.heads))
      memory.write(token.k, values(SEQUENCES, spec.kvHeads))
      memory.write(token.v, values(SEQUENCES, spec.kvHeads))
      memory.write(
        shared.keyLengths,
        Int32Array.from(HELD, (length) => length + index + 1),
      )
      memory.write(shared.pageTable, pageTable(index + 1))
    }
    write(0)
    for (const cache of [plain, recorded]) await evaluate(backend, step(cache))
    const captured = await backend.capture(step(recorded))
    for (let index = 1; index < STEPS; index++) {
      write(index)
      const actual = await replayed(backend, captured)
      const expected = await evaluate(backend, step(plain))
      checks.push(relativeCheck(`out, step ${index}`, actual.out, expected.out, tolerancesFor(dtype).relative))
    }
    captured.dispose()
    return checks
  } finally {
    probe.dispose()
  }
}

/** Pages of the sequences after so many steps, interleaved; -1 where none is needed yet. */
function pageTable(steps: number): Int32Array {
  return Int32Array.from({ length: SEQUENCES * PAGES }, (_, index) => {
    const [sequence, page] = [Math.floor(index / PAGES), index % PAGES]
    return page * PAGE_TOKENS < HELD[sequence] + steps ? page * SEQUENCES + sequence : -1
  })
}
