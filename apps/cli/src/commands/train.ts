import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type ModelBackend, type PhsaConfig, PunctuationTable, phsaConfig, selectionPolicy } from '@phsa/core'
import { DecoderModel, loadModel, saveModel, type TextTokenizer } from '@phsa/model'
import { createTrainer, findCheckpoint, listCheckpoints, TextDataset } from '@phsa/trainer'
import { withBackend } from '../backends.js'
import { ExitCode } from '../exit-code.js'
import { type Interruption, interruptible } from '../interruption.js'
import { openTokenizer } from '../open-tokenizer.js'
import { readText } from '../read-text.js'
import { formatCount } from '../terminal/format.js'
import { startProgress } from '../terminal/progress.js'
import { followTraining } from '../training/follow-training.js'
import { parseScheduleOption } from '../training/schedule-option.js'
import { UsageError } from '../usage-error.js'

export interface TrainOptions {
  readonly out: string
  readonly model?: string
  readonly tokenizer?: string
  readonly steps: number
  readonly sequenceTokens: number
  readonly sequences: number
  readonly learningRate: number
  readonly schedule: string
  readonly policy: string
  readonly hiddenSize: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly blockSize?: number
  readonly initTokens?: number
  readonly localTokens?: number
  readonly lambda?: number
  readonly checkpointEvery: number
  readonly resume?: boolean
  readonly seed: number
  readonly backend?: string
}

/** What a run trains and where its tokens come from. */
interface Learner {
  readonly model: DecoderModel
  readonly tokenizer: TextTokenizer
  readonly tokenizerFolder: string
  readonly punctuation: PunctuationTable
}

/** Trains on text files and saves a model folder; an interrupted run leaves a checkpoint that `--resume` continues. */
export async function runTrain(files: readonly string[], options: TrainOptions): Promise<ExitCode> {
  const schedule = parseScheduleOption(options.schedule)
  const policy = selectionPolicy(options.policy)
  if (options.model !== undefined && options.tokenizer !== undefined) {
    throw new UsageError('--tokenizer does not go with --model, which brings its own; leave one of them out.')
  }
  await checkOutput(options)
  const texts = await Promise.all(files.map(readText))
  return interruptible((interruption) =>
    withBackend(options.backend, async (backend) => {
      const learner = await prepareLearner(options, backend)
      try {
        const data = await tokenize(texts.join('\n\n\n'), learner.tokenizer)
        process.stderr.write(
          `${formatCount(learner.model.parameterCount)} parameters on ${backend.name} (${backend.device}); ${formatCount(data.totalTokens)} tokens of text\n`,
        )
        const checkpoints = join(options.out, 'checkpoints')
        const trainer = createTrainer({
          model: learner.model,
          data,
          punctuation: learner.punctuation,
          batch: { sequences: options.sequences, tokens: options.sequenceTokens },
          steps: options.steps,
          schedule,
          policy,
          optimizer: { learningRate: options.learningRate },
          seed: options.seed,
          log: join(options.out, 'log.jsonl'),
          checkpoint: { folder: checkpoints, every: options.checkpointEvery, tokenizerFrom: learner.tokenizerFolder },
          ...(options.resume ? { resume: checkpoints } : {}),
          signal: interruption.signal,
        })
        const events = await followTraining(trainer, options.steps, interruption)
        return await finish(options, learner, interruption, events.at(-1))
      } finally {
        learner.model.dispose()
      }
    }),
  )
}

/** What the trainer would refuse at its start is found here, before the text is tokenized, which can take minutes. */
async function checkOutput({ out, resume }: TrainOptions): Promise<void> {
  await mkdir(out, { recursive: true })
  const checkpoints = join(out, 'checkpoints')
  if (resume) await findCheckpoint(checkpoints)
  else if ((await listCheckpoints(checkpoints)).length > 0) {
    throw new UsageError(`${checkpoints} holds checkpoints of an earlier run; continue it with --resume, or give another --out.`)
  }
}

async function finish(
  { out, steps }: TrainOptions,
  { model, tokenizerFolder }: Learner,
  interruption: Interruption,
  last: { step: number; loss: number; checkpoint?: string } | undefined,
): Promise<ExitCode> {
  if (interruption.requested && (last?.step ?? 0) < steps) {
    const where = last?.checkpoint ?? `the newest one in ${join(out, 'checkpoints')}`
    process.stdout.write(
      `interrupted after step ${last?.step ?? 0} of ${steps}; checkpoint: ${where}. Continue with the same command and --resume.\n`,
    )
    return ExitCode.interrupted
  }
  await saveModel(model, out, { tokenizerFrom: tokenizerFolder })
  const done = last ? `trained ${steps} steps; last loss ${last.loss.toFixed(4)}` : `already trained to step ${steps}`
  process.stdout.write(`${done}; model in ${out}\n`)
  return ExitCode.ok
}

async function prepareLearner(options: TrainOptions, backend: ModelBackend): Promise<Learner> {
  const { model: folder, hiddenSize, layers, heads, kvHeads, headDim, seed, sequenceTokens } = options
  if (folder !== undefined) {
    const { model, tokenizer, punctuation } = await loadModel(folder, { backend, phsa: phsaSettings(options) })
    if (!tokenizer || !punctuation) {
      model.dispose()
      throw new UsageError(`${folder} has no tokenizer.json, which the text is read with; copy the model's tokenizer into it.`)
    }
    return { model, tokenizer, tokenizerFolder: folder, punctuation }
  }
  const { tokenizer, folder: tokenizerFolder } = await openTokenizer(options.tokenizer)
  const config = {
    vocabSize: tokenizer.vocabSize,
    hiddenSize,
    // Three times, as SwiGLU models have it, in whole multiples of 16.
    intermediateSize: Math.ceil((hiddenSize * 3) / 16) * 16,
    layers,
    heads,
    kvHeads,
    headDim,
    rmsNormEpsilon: 1e-6,
    ropeTheta: 10_000,
    maxPositions: Math.max(4096, sequenceTokens),
    tieWordEmbeddings: true,
    eosTokenIds: tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId],
  }
  const model = DecoderModel.create({ config, backend, phsa: phsaConfig(phsaSettings(options)), seed })
  return { model, tokenizer, tokenizerFolder, punctuation: PunctuationTable.fromTokenizer(tokenizer.json) }
}

function phsaSettings({ blockSize, initTokens, localTokens, lambda }: TrainOptions): Partial<PhsaConfig> {
  const given = { blockSize, initTokens, localTokens, lambda }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}

async function tokenize(text: string, tokenizer: TextTokenizer): Promise<TextDataset> {
  let progress: ReturnType<typeof startProgress> | undefined
  try {
    return await TextDataset.fromText(text, tokenizer, {
      onProgress: ({ documents, totalDocuments, tokens }) => {
        progress ??= startProgress({ label: 'tokenizing', total: totalDocuments })
        progress.update(documents, `${formatCount(tokens)} tokens`)
      },
    })
  } finally {
    progress?.stop()
  }
}
