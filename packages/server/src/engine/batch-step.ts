import type { HostArray, Tensor } from '@phsa/core'
import type { AttentionWatch, PagedDecoder } from '@phsa/model'
import { computeStep, type StepResult, uploadStep } from './compute-step.js'
import { DecodeGraph, type GraphInput } from './decode-graph.js'
import type { TokenLogprob } from './engine-client.js'
import type { LogitAdjustments } from './logit-adjustments.js'
import { type StepShape, type StepTokens, stepArrays } from './step-arrays.js'
import { tokenLogprob } from './token-logprobs.js'

/** How a sequence's next token is drawn from its last row. */
export interface StepDraw {
  /** A row of the control of `ModelOps.sample`: temperature, topK, topP, minP, a random number. */
  readonly control: readonly [number, number, number, number, number]
  readonly adjustments: LogitAdjustments
  /** How many of the likeliest tokens are told beside the token's log-probability; undefined: none of it. */
  readonly logprobs: number | undefined
}

/** One sequence's part of a step. */
export interface StepInput extends StepTokens {
  /** Undefined where the chunk ends before the sequence does. */
  readonly draw: StepDraw | undefined
  /** Log-probabilities that are wanted of the tokens after the chunk's rows: their ids, for the first rows. */
  readonly following: { readonly ids: Int32Array; readonly top: number } | undefined
}

/** What a step gives for one sequence. */
export interface StepOutput {
  readonly id: number | undefined
  readonly logprob: TokenLogprob | undefined
  /** As `following` asks. */
  readonly following: readonly TokenLogprob[]
}

/** What no step goes beyond, and what most have. */
export interface StepBounds {
  /** Sequences. */
  readonly maxSequences: number
  /** Blocks that a request chooses unless it says otherwise. */
  readonly usualTopK: number
  readonly maxTopK: number
}

/** Rows whose logits are on the host at a time. */
const HOST_ROWS = 32
/** Keys that the smallest recorded step has room for; each next one has four times as many. */
const LEAST_KEYS = 4096

/** Steps of any mix of chunks on the device. Which pages belong to whom is decided before. */
export class BatchStep {
  readonly #decoder: PagedDecoder
  readonly #bounds: StepBounds
  readonly #graphs = new Map<string, DecodeGraph>()

  constructor(decoder: PagedDecoder, bounds: StepBounds) {
    this.#decoder = decoder
    this.#bounds = bounds
  }

  /** Takes the tokens in. @param watch looks at the layers; no recording serves such a step @returns one output an input */
  async run(inputs: readonly StepInput[], watch?: AttentionWatch): Promise<StepOutput[]> {
    const keepHidden = inputs.some(({ following }) => following)
    const isDecode = inputs.every(({ ids }) => ids.length === 1) && !keepHidden
    if (isDecode && !watch && this.#decoder.model.backend.capture) {
      const shape = this.#decodeShape(inputs)
      return this.#outputs(inputs, await this.#graph(shape, this.#graphInput(inputs, shape)))
    }
    const { memory } = this.#decoder.model.backend
    const shape = this.#exactShape(inputs)
    const input = this.#graphInput(inputs, shape)
    const result = memory.scope(() => computeStep(this.#decoder, uploadStep(this.#decoder, shape, input, input), keepHidden, watch))
    try {
      return await this.#outputs(inputs, result)
    } finally {
      for (const tensor of [result.hidden, result.logits, result.drawn]) tensor?.dispose()
    }
  }

  dispose(): void {
    for (const graph of this.#graphs.values()) graph.dispose()
    this.#graphs.clear()
  }

  #graph(shape: StepShape, input: GraphInput): Promise<StepResult> {
    const key = `${shape.sequences} ${shape.pagesPerSequence} ${shape.maxTopK}`
    const graph = this.#graphs.get(key) ?? new DecodeGraph(this.#decoder, shape, input)
    this.#graphs.set(key, graph)
    return graph.run(input)
  }

  #graphInput(inputs: readonly StepInput[], shape: StepShape): GraphInput {
    const arrays = stepArrays(inputs, shape)
    const rows = new Int32Array(shape.sequences).fill(-1)
    const control = new Float32Array(shape.sequences * 5)
    for (const [index, { draw }] of inputs.entries()) {
      if (!draw) continue
      rows[index] = arrays.queryStarts[index + 1] - 1
      control.set(draw.control, index * 5)
    }
    return { ...arrays, rows, control }
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

  /** Rounded up, so that few shapes serve all steps: sequences to powers of two, keys to `LEAST_KEYS` times powers of four, blocks to the usual or the most. */
  #decodeShape(inputs: readonly StepInput[]): StepShape {
    const { pages, pageTokens } = this.#decoder.options
    const { maxSequences, usualTopK, maxTopK } = this.#bounds
    const sequences = Math.min(maxSequences, 2 ** Math.ceil(Math.log2(inputs.length)))
    let keys = LEAST_KEYS
    while (keys < mostKeys(inputs)) keys *= 4
    return {
      sequences,
      queryTokens: sequences,
      maxQueries: 1,
      pagesPerSequence: Math.min(pages, Math.ceil(keys / pageTokens)),
      maxTopK: inputs.every(({ topK }) => topK <= usualTopK) ? usualTopK : maxTopK,
    }
  }

  async #outputs(inputs: readonly StepInput[], { hidden, logits, drawn }: StepResult): Promise<StepOutput[]> {
    const ids = await this.#decoder.model.backend.memory.download(drawn)
    const outputs = inputs.map(({ draw }, index): StepOutput => ({ id: draw && ids[index], logprob: undefined, following: [] }))
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

function needsHost(draw: StepDraw | undefined): boolean {
  return draw !== undefined && (draw.logprobs !== undefined || !draw.adjustments.isNeutral)
}
