import { type AttentionSpec, attentionSpec, type PhsaConfig, PunctuationTable, phsaConfig, type SparsitySchedule } from '@phsa/core'
import { type DecoderConfig, describeModel, parameterShapes, type TextTokenizer } from '@phsa/model'
import { tokenizerIdentity } from '@phsa/trainer'
import { openTokenizer } from '../open-tokenizer.js'
import { UsageError } from '../usage-error.js'
import type { DataSource } from './data-plan.js'
import { DEFAULT_SHAPE, type TrainConfig } from './train-config.js'

/** The model of a run before it is on a device. */
export interface ModelPlan {
  readonly decoder: DecoderConfig
  readonly phsa: PhsaConfig
  readonly tokenizer: TextTokenizer
  readonly tokenizerFolder: string
  /** See `tokenizerIdentity`. */
  readonly tokenizerIdentity: string
  readonly punctuation: PunctuationTable
  readonly parameters: number
  /** What a backend must be able to do. */
  readonly spec: AttentionSpec
}

/** A configuration that was checked, with what it comes to. */
export interface TrainPlan {
  /** With all defaults and absolute paths. */
  readonly config: TrainConfig
  readonly schedule: SparsitySchedule
  readonly model: ModelPlan
  readonly sources: readonly DataSource[]
  readonly steps: number
  readonly tokensPerStep: number
}

/** Steps of the whole run. */
export function plannedSteps(config: TrainConfig): number {
  const { steps, tokens } = config.run
  return tokens === undefined ? (steps ?? 200) : Math.ceil(tokens / tokensPerStep(config))
}

/** Tokens of one step, on all GPUs together. */
export function tokensPerStep({ batch: { sequences, tokens, accumulate }, gpus = 1 }: TrainConfig): number {
  return sequences * tokens * accumulate * gpus
}

/** Reads a model folder without its weights, or puts a new model together. @throws UsageError; what `describeModel` and `openTokenizer` throw */
export async function planModel(config: TrainConfig): Promise<ModelPlan> {
  const { run, batch, dtype } = config
  const described = run.model === undefined ? await newModel(run, batch.tokens, config.phsa) : await modelFolder(run.model, config.phsa)
  const { decoder, phsa } = described
  const { heads, kvHeads, headDim } = decoder
  let parameters = 0
  for (const extents of parameterShapes(decoder).values()) parameters += extents.reduce((product, extent) => product * extent, 1)
  return {
    ...described,
    tokenizerIdentity: await tokenizerIdentity(described.tokenizerFolder),
    parameters,
    spec: attentionSpec(phsa, { heads, kvHeads, headDim, dtype }),
  }
}

type DescribedModel = Omit<ModelPlan, 'parameters' | 'spec' | 'tokenizerIdentity'>

async function modelFolder(folder: string, settings: Partial<PhsaConfig>): Promise<DescribedModel> {
  const { config: decoder, phsa, tokenizer, punctuation } = await describeModel(folder, { phsa: settings })
  if (tokenizer && punctuation) return { decoder, phsa, tokenizer, tokenizerFolder: folder, punctuation }
  throw new UsageError(`${folder} has no tokenizer.json, which text is read with; copy the model's tokenizer into it.`)
}

async function newModel(run: TrainConfig['run'], tokens: number, settings: Partial<PhsaConfig>): Promise<DescribedModel> {
  const { tokenizer, folder: tokenizerFolder } = await openTokenizer(run.tokenizer)
  const { intermediateSize, maxPositions, ...shape } = run.shape ?? DEFAULT_SHAPE
  const decoder = {
    ...shape,
    vocabSize: tokenizer.vocabSize,
    // Three times, as SwiGLU models have it, in whole multiples of 16.
    intermediateSize: intermediateSize ?? Math.ceil((shape.hiddenSize * 3) / 16) * 16,
    maxPositions: maxPositions ?? Math.max(4096, tokens),
    eosTokenIds: tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId],
  }
  return {
    decoder,
    phsa: phsaConfig(settings),
    tokenizer,
    tokenizerFolder,
    punctuation: PunctuationTable.fromTokenizer(tokenizer.json),
  }
}
