import { MAX_TOP_K, PHSA_4K, POLICY_NAMES } from '@phsa/core'
import { z } from 'zod'
import { backendNames } from '../backends.js'
import { flag, integer, number, numberAbove, oneOf, path, section, text } from './setting.js'

/** What a file says of a run, before defaults: the keys of `trainConfig`. */
export type TrainConfigInput = z.input<typeof trainConfig>

/** A run with all its defaults; paths as they were written. */
export type TrainConfig = z.output<typeof trainConfig>

const shape = section({
  hiddenSize: integer(8).default(128).describe('Width of the model.'),
  intermediateSize: integer(8)
    .optional()
    .describe('Width of the feed-forward layers. Default: three times hiddenSize, in multiples of 16.'),
  layers: integer(1).default(4),
  heads: integer(1).default(4).describe('Query heads; a multiple of kvHeads.'),
  kvHeads: integer(1).default(2).describe('Key/value heads.'),
  headDim: integer(2).default(32).describe('Head dimension; even.'),
  maxPositions: integer(2).optional().describe('Longest sequence. Default: 4096, or batch.tokens where that is longer.'),
  ropeTheta: numberAbove(0, Number.MAX_VALUE).default(10_000),
  rmsNormEpsilon: numberAbove(0, 1).default(1e-6),
  tieWordEmbeddings: flag().default(true).describe('Whether the output projection is the embedding table.'),
}).describe('Shape of a new model; its vocabulary is the tokenizer’s.')

/** The shape of a new model that nobody described. */
export const DEFAULT_SHAPE = shape.parse({})

const run = section({
  model: path('Hugging Face folder to continue from, with its weights, shape and tokenizer; no parameter is added.').optional(),
  shape: shape.optional(),
  tokenizer: path('tokenizer.json of a new model, or its folder. Default: the bundled one of 8,192 tokens.').optional(),
  steps: integer(1).optional().describe('Steps of the whole run, those before a resume included. Default 200.'),
  tokens: integer(1)
    .optional()
    .describe('Tokens of the whole run instead of steps; rounded up to whole sequences, and the last step takes what is left.'),
  orOlder: flag()
    .default(false)
    .describe('Whether a resume takes the newest whole checkpoint where newer ones are damaged, instead of stopping.'),
  start: oneOf(['new', 'resume', 'resume-or-start'])
    .default('new')
    .describe(
      'Whether out is new, holds a checkpoint to go on with, or may hold one: the last suits a command that is run until it is done.',
    ),
})

const stageExtent = {
  share: numberAbove(0, 1).optional().describe('Share of the run; the shares of all stages sum to 1.'),
  tokens: integer(1).optional().describe('Length in tokens instead of a share.'),
  distillation: flag().optional().describe('Whether the block distillation loss is added (spec 10). Default false.'),
}

const topK = integer(0, MAX_TOP_K)

const stage = z.discriminatedUnion(
  'kind',
  [
    section({ kind: z.literal('dense'), ...stageExtent }),
    section({
      kind: z.literal('sparse'),
      ...stageExtent,
      topK: z
        .union([topK, section({ from: topK, to: topK })], { error: `an integer from 0 to ${MAX_TOP_K}, or { from: 8, to: 2 }` })
        .describe('Blocks chosen a query, or { from, to } for a linear fall over the stage.'),
    }),
  ],
  { error: 'a stage: kind dense or sparse, share or tokens, and for sparse topK' },
)

const unit = number(0, 1)

const phsa = section({
  blockSize: integer(1).optional().describe(`Tokens a key block. New models: ${PHSA_4K.blockSize}.`),
  initTokens: integer(0).optional().describe(`First tokens, always visible; a multiple of blockSize. New models: ${PHSA_4K.initTokens}.`),
  localTokens: integer(1).optional().describe(`Local window, always visible; a multiple of blockSize. New models: ${PHSA_4K.localTokens}.`),
  topK: topK.optional().describe('Blocks chosen where the finished model is used; training has its own in schedule. New models: 2.'),
  lambda: z
    .union([unit, z.array(z.array(unit))], { error: 'a number from 0 to 1, or a list of them a layer with one a KV head' })
    .optional()
    .describe('Weight of the global branch, 1 is mean-pool: one number, or one per layer and KV head. New models: 0.5.'),
  representatives: integer(1).optional().describe('Sub-blocks with a representative of their own; divides blockSize. New models: 1.'),
  score: oneOf(['softmax', 'logit', 'overlap']).optional().describe('New models: softmax.'),
  denseBelow: integer(0).optional().describe('Queries at earlier positions attend densely. New models: 0.'),
  denseLayers: z
    .array(integer(0), { error: 'a list of layers, [0, 1] for instance' })
    .optional()
    .describe('Layers that attend densely whatever the rest says, counted from 0. New models: none.'),
}).describe('Sparse attention (spec 1). What is left out is as the model folder has it.')

const optimizer = section({
  learningRate: numberAbove(0, 1).default(0.001).describe('Highest rate.'),
  warmupSteps: integer(0).optional().describe('Steps in which it rises to the highest. Default: a hundredth of the steps.'),
  decay: oneOf(['cosine', 'linear', 'wsd', 'none']).default('cosine').describe('How it falls afterwards.'),
  decayShare: numberAbove(0, 1).optional().describe('wsd only: last share of the steps, in which it falls. Default 0.2.'),
  finalShare: unit.default(0.1).describe('Rate of the last step over the highest.'),
  beta1: number(0, 0.999999).default(0.9),
  beta2: number(0, 0.999999).default(0.95),
  epsilon: numberAbove(0, 1).default(1e-8),
  weightDecay: unit.default(0.1),
  maxNorm: numberAbove(0, Number.MAX_VALUE).default(1).describe('Gradients are scaled down to this norm.'),
}).describe('AdamW.')

const place = path(
  'Text (.txt, .txt.gz; two blank lines between documents), JSONL (.jsonl, .jsonl.gz), parquet, a dataset folder of such files, or a folder of phsa tokenize.',
)

const source = section({
  path: z.union([place, z.array(place).min(1, { error: 'a path, or a list of paths' })], { error: 'a path, or a list of paths' }),
  name: text('a name')
    .regex(/^[\w-][\w.-]*$/, { error: 'a name of letters, digits, points, - and _, which does not begin with a point' })
    .optional()
    .describe('What reports call it, and its folder of tokens. Default: the name of its file or folder.'),
  weight: number(1e-6, 1e6)
    .optional()
    .describe('Share of the rows that come from it, relative to the other weights. Default for all: every token counts the same.'),
  textField: text('the name of a field').default('text').describe('Field of JSONL records, column of parquet rows.'),
  split: text('the name of a split').default('train').describe('Part of a dataset folder, by the names of its files.'),
})

const data = section({
  sources: z
    .array(z.union([place, source], { error: 'a path, or a source with a path' }), { error: 'a list of sources' })
    .min(1, { error: 'a list of at least one source' }),
  tokens: path('Folder for the tokenized sources, which several runs may share. Default: tokens in out.').optional(),
  badRecords: oneOf(['skip', 'fail'])
    .default('skip')
    .describe('Whether a record that is no document is counted and left out, or ends the run.'),
}).describe('What is trained on; tokenized once.')

/** The file of `phsa train`: every setting with its bounds and default. The JSON Schema for editors is made from it. */
export const trainConfig = section({
  $schema: text('an address').optional().describe('Where editors find this schema, in JSON files.'),
  out: path('Folder for the model, its checkpoints, log.jsonl and config.yaml.').default('phsa-model'),
  seed: integer(0, 2 ** 31 - 1)
    .default(0)
    .describe('Decides new weights and the order of the data.'),
  backend: oneOf(backendNames).optional().describe('What computes. Default: the best that works here.'),
  dtype: oneOf(['f32', 'bf16', 'f16']).default('f32').describe('Element type of the model; 16-bit ones keep f32 copies for the optimizer.'),
  run: run.prefault({}),
  data,
  batch: section({
    tokens: integer(16).default(512).describe('Tokens a sequence.'),
    sequences: integer(1).default(2).describe('Sequences on the device at once.'),
    accumulate: integer(1).default(1).describe('Times that the sequences are worked on in one step: larger steps in the same memory.'),
  }).prefault({}),
  optimizer: optimizer.prefault({}),
  schedule: z
    .array(stage, { error: 'a list of stages' })
    .min(1, { error: 'a list of at least one stage' })
    .default([
      { kind: 'dense', share: 0.8 },
      { kind: 'sparse', share: 0.2, topK: 2, distillation: true },
    ])
    .describe('When attention is dense and when sparse (spec 7).'),
  policy: oneOf(POLICY_NAMES).default('phsa').describe('How blocks are selected (spec 8).'),
  distillation: section({
    coefficient: number(0, Number.MAX_VALUE).default(1).describe('Weight of the loss in the objective; 0 for none.'),
    positions: integer(1).default(256).describe('Query positions sampled a sequence.'),
    lambda: oneOf(['fixed', 'learned'])
      .default('fixed')
      .describe('learned teaches a lambda for each layer and KV head with this loss, from phsa.lambda on; for policy phsa.'),
    lambdaLearningRate: numberAbove(0, 1).optional().describe('Peak of its own rate. Default 0.01.'),
  })
    .prefault({})
    .describe('Block distillation in the stages that ask for it (spec 10).'),
  phsa: phsa.prefault({}),
  recompute: flag()
    .default(false)
    .describe('Whether layers are computed again in the backward pass, which needs less memory and more time.'),
  gpus: integer(1)
    .optional()
    .describe(
      'Processes on this machine, a GPU each, that train together; each works on its own part of accumulate times sequences. Default 1.',
    ),
  ema: section({
    decay: number(0, 0.999999).describe('Part of the average that each step keeps: 0.999 averages over about 1,000 steps.'),
    validate: flag().default(false).describe('Whether validation is measured with the averaged weights.'),
    export: flag().default(false).describe('Whether the finished model has the averaged weights; the checkpoints have both.'),
  })
    .optional()
    .describe('A moving average of the weights beside those that are trained.'),
  maxSkips: integer(1).default(5).describe('Skipped steps in a row after which training gives up.'),
  checkpoint: section({
    every: integer(1).default(500).describe('Steps between two; the last step and an interrupted one are always saved.'),
    keep: integer(1).default(2).describe('Newest ones that are kept.'),
    best: oneOf(['validation', 'none'])
      .optional()
      .describe('validation keeps the one with the lowest validation loss besides. Default where there is validation.'),
  }).prefault({}),
  validation: section({
    path: path('Text that is not trained on: the same kinds of files as in data.sources.'),
    textField: text('the name of a field').default('text').describe('Field of JSONL records, column of parquet rows.'),
    split: text('the name of a split').default('validation').describe('Part of a dataset folder, by the names of its files.'),
    every: integer(1).default(100).describe('Steps between two measurements; the last step is one too.'),
    windows: integer(1).default(8).describe('Windows of batch.tokens that are measured, fewer for a short text.'),
  })
    .optional()
    .describe('Loss and perplexity of held-out text now and then.'),
  recall: section({
    every: integer(1).default(100).describe('Steps between two measurements; the last step is one too.'),
    positions: integer(1).default(64).describe('Query positions to sample, at most.'),
  })
    .optional()
    .describe('Attention-mass recall on a sample of the tokens of a step (spec 9).'),
  evaluation: section({
    path: z
      .union([place, z.array(place).min(1, { error: 'a path, or a list of paths' })], { error: 'a path, or a list of paths' })
      .optional()
      .describe('Text that is not trained on, .txt or .txt.gz.'),
    policies: z
      .array(oneOf(POLICY_NAMES), { error: 'a list of policies' })
      .min(1, { error: 'a list of at least one policy' })
      .optional()
      .describe('Default: that of the run.'),
    topK: z
      .array(topK, { error: 'a list of numbers of blocks' })
      .min(1, { error: 'a list of at least one number' })
      .default([1, 2, 4, 8, 16])
      .describe('Blocks selected a query; dense comes besides.'),
    windows: integer(1).default(8).describe('Windows of text.'),
    tokens: integer(16).optional().describe('Tokens a window. Default: batch.tokens.'),
    positions: flag().default(false).describe('Whether perplexity is measured by position in the windows too.'),
    needle: flag().default(false).describe('Whether needle retrieval is measured too.'),
    choices: z
      .array(path('Multiple-choice questions, a JSON object a line.'), { error: 'a list of files' })
      .optional()
      .describe('Files of multiple-choice questions, scored by log-likelihood.'),
  })
    .optional()
    .describe('What phsa eval measures, of the finished model: into evaluation.json and evaluation.html in out.'),
  watching: section({
    tensorboard: flag().default(false).describe('Whether event files for TensorBoard are written, to tensorboard/ in out.'),
    peakTeraflops: numberAbove(0, Number.MAX_VALUE)
      .optional()
      .describe(
        'Peak of one device in TFLOP/s, which MFU is measured by. Default: that of the GPU where it is known; then there is no MFU.',
      ),
  }).prefault({}),
})
