import type { HostArray, PunctuationTable, Tensor } from '@phsa/core'
import type { AttentionWatch, PagedDecoder } from '@phsa/model'
import { computeStep, type StepResult, uploadStep } from './compute-step.js'
import { DecodeGraph, type PunctuationMarks } from './decode-graph.js'
import type { TokenLogprob } from './engine-client.js'
import { type StepShape, stepArrays } from './step-arrays.js'
import { type NextInput, needsHost, type StepDraw, type StepInput, type StepOutput } from './step-input.js'
import { tokenLogprob } from './token-logprobs.js'

/** What no step goes beyond, and what most have. */
export interface StepBounds {
  /** Sequences. */
  readonly maxSequences: number
  /** Blocks that a request chooses unless it says otherwise. */
  readonly usualTopK: number
  readonly maxTopK: number
  /** Keys of a sequence. */
  readonly maxKeys: number
}

/** Waits for what a queued step gives: one output an input. Called once, before other steps are queued than the next one by `queueNext`. */
export type CollectStep = () => Promise<StepOutput[]>

/** Rows whose logits are on the host at a time. */
const HOST_ROWS = 32
/** Keys that the smallest recorded step has room for; each next one has twice as many. */
const LEAST_KEYS = 4096

const NO_DRAW = [0, 0, 0, 0, 0] as const
const NOTHING: readonly TokenLogprob[] = []

/** Steps of any mix of chunks on the device. Which pages belong to whom is decided before. */
export class BatchStep {
  readonly #decoder: PagedDecoder
  readonly #bounds: StepBounds
  readonly #punctuation: PunctuationTable | undefined
  readonly #graphs = new Map<string, DecodeGraph>()
  #marks: PunctuationMarks | undefined
  /** Of the last step, where the next one needs nothing from the host. */
  #last: DecodeGraph | undefined

  constructor(decoder: PagedDecoder, bounds: StepBounds, punctuation: PunctuationTable | undefined) {
    this.#decoder = decoder
    this.#bounds = bounds
    this.#punctuation = punctuation
  }

  /** Queues a step that takes the tokens in. @param watch looks at the layers; no recording serves such a step */
  async queue(inputs: readonly StepInput[], watch?: AttentionWatch): Promise<CollectStep> {
    this.#last = undefined
    const keepHidden = inputs.some(({ following }) => following)
    const isDecode = inputs.every(({ ids }) => ids.length === 1) && !keepHidden
    if (isDecode && !watch && this.#decoder.model.backend.capture) {
      const graph = this.#graph(this.#decodeShape(inputs))
      const collect = this.#collect(inputs, await graph.run(inputs))
      if (inputs.every(({ draw }) => draw && !needsHost(draw))) this.#last = graph
      return collect
    }
    const result = this.#compute(inputs, keepHidden, watch)
    const collect = this.#collect(inputs, result)
    return async () => {
      try {
        return await collect()
      } finally {
        for (const tensor of [result.hidden, result.logits, result.drawn]) tensor?.dispose()
      }
    }
  }

  /** Whether `queueNext` may be called: the last step is recorded, has room for more keys, and its draws need nothing from the host. */
  get canQueueNext(): boolean {
    return this.#last?.canRunNext === true
  }

  /** Queues the step after the last one, before that is collected: its sequences, with the tokens that it draws. @throws RangeError where it cannot */
  queueNext(inputs: readonly NextInput[]): CollectStep {
    const result = this.#last?.runNext(inputs)
    if (!result) throw new RangeError('no recorded step is under way that another could follow; collect it, and queue a step.')
    const drawn = this.#drawn(result)
    return async () => {
      const ids = await drawn
      return inputs.map((_, index): StepOutput => ({ id: ids[index], logprob: undefined, following: NOTHING }))
    }
  }

  dispose(): void {
    for (const graph of this.#graphs.values()) graph.dispose()
    this.#graphs.clear()
    this.#marks?.rows.dispose()
  }

  #graph(shape: StepShape): DecodeGraph {
    const key = `${shape.sequences} ${shape.pagesPerSequence} ${shape.maxTopK}`
    const graph = this.#graphs.get(key) ?? new DecodeGraph(this.#decoder, shape, this.#marksOnDevice())
    this.#graphs.set(key, graph)
    return graph
  }

  #marksOnDevice(): PunctuationMarks | undefined {
    if (!this.#punctuation || this.#marks) return this.#marks
    const { backend, config } = this.#decoder.model
    const flags = this.#punctuation.marks(Int32Array.from({ length: config.vocabSize }, (_, id) => id))
    this.#marks = { table: this.#punctuation, rows: backend.memory.upload(Float32Array.from(flags), [config.vocabSize, 1]) }
    return this.#marks
  }

  #compute(inputs: readonly StepInput[], keepHidden: boolean, watch: AttentionWatch | undefined): StepResult {
    const shape = this.#exactShape(inputs)
    const arrays = stepArrays(inputs, shape, this.#punctuation)
    const rows = Int32Array.from(inputs, ({ draw }, index) => (draw ? arrays.queryStarts[index + 1] - 1 : -1))
    const control = Float32Array.from(inputs.flatMap(({ draw }) => draw?.control ?? NO_DRAW))
    const { memory } = this.#decoder.model.backend
    return memory.scope(() => computeStep(this.#decoder, uploadStep(this.#decoder, shape, arrays, { rows, control }), keepHidden, watch))
  }

  #exactShape(inputs: readonly StepInput[]): StepShape {
    const counts = inputs.map(({ ids }) => ids.length)
    return {
      sequences: inputs.length,
      queryTokens: counts.reduce((sum, count) => sum + count, 0),
      maxQueries: Math.max(...counts),
      pagesPerSequence: Math.ceil(mostKeys(inputs) / this.#decoder.options.pageTokens),
      maxTopK: Math.max(...inputs.map(({ topK }) => topK)),
    }
  }

  /**
   * Rounded up, so that few shapes serve all steps: sequences and keys to powers of two, blocks to the usual or the most. Kernels set aside room for as
   * many keys as there could be, so that finer steps of keys are worth their recordings.
   */
  #decodeShape(inputs: readonly StepInput[]): StepShape {
    const { pages, pageTokens } = this.#decoder.options
    const { maxSequences, usualTopK, maxTopK, maxKeys } = this.#bounds
    const sequences = Math.min(maxSequences, 2 ** Math.ceil(Math.log2(inputs.length)))
    let keys = LEAST_KEYS
    while (keys < mostKeys(inputs)) keys *= 2
    return {
      sequences,
      queryTokens: sequences,
      maxQueries: 1,
      pagesPerSequence: Math.min(pages, Math.ceil(Math.min(keys, maxKeys) / pageTokens)),
      maxTopK: inputs.every(({ topK }) => topK <= usualTopK) ? usualTopK : maxTopK,
    }
  }

  #collect(inputs: readonly StepInput[], result: StepResult): CollectStep {
    const drawn = this.#drawn(result)
    return async () => this.#outputs(inputs, result, await drawn)
  }

  /** Asked for at once: what is queued later writes its own tokens there. */
  #drawn({ drawn }: StepResult): Promise<HostArray> {
    const ids = this.#decoder.model.backend.memory.download(drawn)
    // Where the step before fails nobody asks for them.
    ids.catch(() => undefined)
    return ids
  }

  async #outputs(inputs: readonly StepInput[], { hidden, logits }: StepResult, ids: HostArray): Promise<StepOutput[]> {
    const outputs = inputs.map(({ draw }, index): StepOutput => ({ id: draw && ids[index], logprob: undefined, following: NOTHING }))
    const onHost = [...inputs.keys()].filter((index) => needsHost(inputs[index].draw))
    for (let first = 0; first < onHost.length; first += HOST_ROWS) {
      const part = onHost.slice(first, first + HOST_ROWS)
      const drawnOnHost = await this.#drawOnHost(
        part.map((index) => inputs[index].draw!),
        logits,
        Int32Array.from(part),
      )
      for (const [place, index] of part.entries()) outputs[index] = { ...outputs[index], ...drawnOnHost[place] }
    }
    let row = 0
    for (const [index, { ids: chunk, following }] of inputs.entries()) {
      if (following) outputs[index] = { ...outputs[index], following: await this.#followingLogprobs(hidden!, row, following) }
      row += chunk.length
    }
    return outputs
  }

  /** Draws of rows whose logits are changed or told, [n, V] on the host. */
  async #drawOnHost(draws: readonly StepDraw[], logits: Tensor, rows: Int32Array): Promise<Pick<StepOutput, 'id' | 'logprob'>[]> {
    const { memory, ops } = this.#decoder.model.backend
    const values = await this.#download(() => ops.embedding(logits, memory.upload(rows, [rows.length])))
    const width = values.length / rows.length
    const adjusted = values.slice()
    for (const [row, { adjustments }] of draws.entries()) adjustments.apply(adjusted.subarray(row * width, (row + 1) * width))
    const control = Float32Array.from(draws.flatMap((draw) => draw.control))
    const ids = await this.#download(() =>
      ops.sample(memory.upload(adjusted, [rows.length, width]), memory.upload(control, [rows.length, 5])),
    )
    return draws.map(({ logprobs }, row) => ({
      id: ids[row],
      logprob: logprobs === undefined ? undefined : tokenLogprob(values.subarray(row * width, (row + 1) * width), ids[row], logprobs),
    }))
  }

  async #followingLogprobs(hidden: Tensor, firstRow: number, { ids, top }: NonNullable<StepInput['following']>): Promise<TokenLogprob[]> {
    const { memory } = this.#decoder.model.backend
    const found: TokenLogprob[] = []
    for (let first = 0; first < ids.length; first += HOST_ROWS) {
      const part = ids.subarray(first, first + HOST_ROWS)
      const rows = Int32Array.from(part, (_, index) => firstRow + first + index)
      const values = await this.#download(() => this.#decoder.logits(hidden, memory.upload(rows, [rows.length])))
      const width = values.length / rows.length
      for (const [row, id] of part.entries()) found.push(tokenLogprob(values.subarray(row * width, (row + 1) * width), id, top))
    }
    return found
  }

  async #download(compute: () => Tensor): Promise<HostArray> {
    const { memory } = this.#decoder.model.backend
    const tensor = memory.scope(compute)
    try {
      return await memory.download(tensor)
    } finally {
      tensor.dispose()
    }
  }
}

function mostKeys(inputs: readonly StepInput[]): number {
  return Math.max(...inputs.map(({ ids, start }) => start + ids.length))
}
