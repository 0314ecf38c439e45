import type { AttentionBackend } from '../contract/attention-backend.js'
import type { AttentionSpec } from '../contract/attention-spec.js'
import type { HostArray, Tensor } from '../contract/tensor.js'
import type { AttentionInputs } from './attention-inputs.js'
import { type AttentionProblem, referenceProblem } from './attention-problem.js'
import { type AttentionMagnitude, attentionMagnitude } from './gradient-magnitude.js'
import { evaluate, uploadAs } from './probe.js'
import { selectionScores } from './selection-scores.js'

/** What a case's kernels must give: the reference in float64, from inputs rounded to the tested type. Computed when first asked for. */
export class AttentionOracle {
  readonly inputs: AttentionInputs
  /** With the tested dtype. */
  readonly spec: AttentionSpec
  readonly #reference: AttentionBackend
  readonly #known = new Map<string, unknown>()

  constructor(reference: AttentionBackend, spec: AttentionSpec, inputs: AttentionInputs) {
    this.#reference = reference
    this.spec = spec
    this.inputs = inputs
  }

  /** [Hkv, blocks * r, D] */
  reps(): Promise<HostArray> {
    return this.#once('reps', async () => {
      const { reps } = await this.compute(({ k, weights, layout, spec }) => ({
        reps: this.#reference.attention.poolBlocks({ k, weights, layout, spec }),
      }))
      return reps
    })
  }

  /** i32 [Hkv, Tq, topK] */
  selected(): Promise<Int32Array> {
    return this.#once('selected', async () => {
      const { selected } = await this.compute(({ q, k, weights, layout, spec }) => {
        const reps = this.#reference.attention.poolBlocks({ k, weights, layout, spec })
        return { selected: this.#reference.attention.selectBlocks({ q, reps, layout, spec }) }
      })
      return selected as Int32Array
    })
  }

  /** S of every complete block; see `selectionScores`. */
  scores(): Promise<Float64Array[]> {
    return this.#once('scores', async () =>
      selectionScores({ q: this.inputs.q, reps: await this.reps(), layout: this.inputs.layout, spec: this.spec }),
    )
  }

  /** out [Tq, Hq, D] and lse [Tq, Hq] for `selected`. */
  attended(): Promise<Record<'out' | 'lse', HostArray>> {
    return this.#once('attended', async () => {
      const selected = await this.selected()
      return this.compute((problem) => {
        const { out, lse } = this.#reference.attention.attend({ ...problem, selected: this.#uploadSelected(selected) })
        return { out, lse }
      })
    })
  }

  /** Gradients for `selected`. */
  gradients(): Promise<Record<'dq' | 'dk' | 'dv', HostArray>> {
    return this.#once('gradients', async () => {
      const selected = await this.selected()
      return this.compute((problem) => {
        const input = { ...problem, selected: this.#uploadSelected(selected) }
        const { dq, dk, dv } = this.#reference.attention.attendBackward({ ...input, ...this.#reference.attention.attend(input) })
        return { dq, dk, dv }
      })
    })
  }

  /** Dense attention probability of `rows` on each block: [Hkv, n, maxBlocks] of the exact layout. */
  mass(rows: Int32Array): Promise<HostArray> {
    return this.#once(`mass ${rows}`, async () => {
      const { mass } = await this.compute((problem) => ({
        mass: this.#reference.attention.blockMass({ ...problem, rows: this.#reference.memory.upload(rows, [rows.length]) }),
      }))
      return mass
    })
  }

  /** Distillation loss [1], dReps and dq from representatives and masses that are given. */
  distillation(
    rows: Int32Array,
    reps: HostArray,
    mass: HostArray,
    coefficient: number,
  ): Promise<Record<'loss' | 'dReps' | 'dq', HostArray>> {
    const { kvHeads, heads, headDim, representatives: r } = this.spec
    const { layout } = this.inputs
    const { memory, attention } = this.#reference
    return this.compute((problem) => {
      const dq = memory.alloc([layout.totalQueries, heads, headDim], 'f64')
      const gradients = attention.selectionLossBackward({
        ...problem,
        reps: uploadAs(this.#reference, reps, [kvHeads, layout.totalBlocks * r, headDim], 'f64'),
        mass: uploadAs(this.#reference, mass, [kvHeads, rows.length, layout.maxBlocks], 'f64'),
        rows: memory.upload(rows, [rows.length]),
        coefficient,
        dq,
      })
      return { loss: gradients.loss, dReps: gradients.dReps, dq }
    })
  }

  /** What the bounds of lse, dq and dk refer to. */
  magnitude(): Promise<AttentionMagnitude> {
    return this.#once('magnitude', async () => attentionMagnitude({ ...this.inputs, spec: this.spec, selected: await this.selected() }))
  }

  /** Runs the reference on the case's inputs in float64. */
  compute<K extends string>(run: (problem: AttentionProblem) => Record<K, Tensor>): Promise<Record<K, HostArray>> {
    return evaluate(this.#reference, () => run(referenceProblem(this.#reference, this.inputs, this.spec)))
  }

  get reference(): AttentionBackend {
    return this.#reference
  }

  #uploadSelected(selected: Int32Array) {
    return this.#reference.memory.upload(selected, [this.spec.kvHeads, this.inputs.layout.totalQueries, this.spec.topK], 'i32')
  }

  #once<T>(name: string, make: () => Promise<T>): Promise<T> {
    if (!this.#known.has(name)) this.#known.set(name, make())
    return this.#known.get(name) as Promise<T>
  }
}
