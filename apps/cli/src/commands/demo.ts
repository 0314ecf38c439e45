import { rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { type ModelBackend, meanPoolPolicy, PunctuationTable, phsaPolicy } from '@phsa/core'
import { DecoderModel, saveModel, TextTokenizer } from '@phsa/model'
import { createTrainer, type StepEvent, TextDataset } from '@phsa/trainer'
import { withBackend } from '../backends.js'
import { bundledTokenizerFolder } from '../demo/bundled-assets.js'
import { comparePolicies } from '../demo/compare-policies.js'
import { continuePrompt } from '../demo/continue-prompt.js'
import { demoCosts } from '../demo/demo-costs.js'
import { demoNovel } from '../demo/demo-novels.js'
import { DEMO_BATCH, DEMO_MODEL, DEMO_OPTIMIZER, DEMO_PHSA, DEMO_SCHEDULE } from '../demo/demo-recipe.js'
import { measureSteps, stepsWithin } from '../demo/fit-steps.js'
import { heldOutPassages } from '../demo/held-out-text.js'
import { ExitCode } from '../exit-code.js'
import { prepareFolder } from '../files/prepare-folder.js'
import { writeWholeFile } from '../files/write-whole-file.js'
import { describePassage } from '../inspect/describe-passage.js'
import { selectInPassage } from '../inspect/select-in-passage.js'
import { type Interruption, interruptible } from '../interruption.js'
import { demoReport } from '../report/demo-report.js'
import type { DemoResults, LossPoint } from '../report/demo-results.js'
import { demoText } from '../report/demo-text.js'
import { reportJson } from '../report-json.js'
import { formatCount, formatDuration } from '../terminal/format.js'
import { followTraining } from '../training/follow-training.js'

export interface DemoOptions {
  readonly steps?: number
  readonly seconds: number
  readonly out: string
  readonly seed: number
  readonly backend?: string
  readonly json?: boolean
}

/** Passages of the comparison, and their length in tokens. */
const EVALUATION = { count: 4, length: 512 } as const
/** Prompt of the continuations: long enough that sparse attention leaves something out. */
const PROMPT_TOKENS = 160
/** Budget of the selection map. */
const MAP_TOP_K = 4

/** Trains, compares, generates and reports; each of it on real text. */
export function runDemo(options: DemoOptions): Promise<ExitCode> {
  return interruptible((interruption) =>
    withBackend(options.backend, async (backend) => {
      const model = DecoderModel.create({ config: DEMO_MODEL, backend, phsa: DEMO_PHSA, seed: options.seed })
      try {
        return await demonstrate(model, options, interruption)
      } finally {
        model.dispose()
      }
    }),
  )
}

async function demonstrate(model: DecoderModel, options: DemoOptions, interruption: Interruption): Promise<ExitCode> {
  const started = performance.now()
  const { out, seed } = options
  const { backend } = model
  const modelFolder = join(out, 'model')
  await prepareFolder(out)
  // A log is appended to; that of an earlier demo would make no sense here.
  await rm(join(out, 'log.jsonl'), { force: true })
  const tokenizer = await TextTokenizer.fromFolder(bundledTokenizerFolder())
  const punctuation = PunctuationTable.fromTokenizer(tokenizer.json)
  say(`${formatCount(model.parameterCount)} parameters on ${backend.name}: ${backend.device}`)
  say('reading Pride and Prejudice')
  const data = await TextDataset.fromText(demoNovel('train'), tokenizer)
  const steps = options.steps ?? (await fitSteps(backend, { data, punctuation, interruption, seconds: options.seconds }))
  if (interruption.requested) return ExitCode.interrupted

  say(
    `training ${steps} steps of ${DEMO_BATCH.sequences} x ${DEMO_BATCH.tokens} tokens: the first 80 % dense, then topK ${DEMO_PHSA.topK} with block distillation`,
  )
  const trainingStarted = performance.now()
  const trainer = createTrainer({
    model,
    data,
    punctuation,
    batch: DEMO_BATCH,
    steps,
    schedule: DEMO_SCHEDULE,
    optimizer: { ...DEMO_OPTIMIZER, warmupSteps: Math.ceil(steps / 10) },
    seed,
    log: join(out, 'log.jsonl'),
    signal: interruption.signal,
  })
  const events: StepEvent[] = []
  await followTraining(trainer, steps, interruption, (event) => void events.push(event))
  const seconds = (performance.now() - trainingStarted) / 1000
  await saveModel(model, modelFolder, { tokenizerFrom: bundledTokenizerFolder() })
  if (interruption.requested) {
    say(`interrupted after step ${events.length} of ${steps}; the model as it is lies in ${modelFolder}`)
    return ExitCode.interrupted
  }
  try {
    const findings = await examine(model, { tokenizer, punctuation, interruption })
    const results: DemoResults = {
      createdAt: new Date().toISOString(),
      machine: { node: process.versions.node, cores: availableParallelism(), backend: backend.name, device: backend.device },
      model: model.config,
      parameters: model.parameterCount,
      phsa: model.phsa,
      seed,
      training: { ...trainingSummary(events, seconds), steps, sequenceTokens: DEMO_BATCH.tokens },
      ...findings,
      costs: demoCosts(),
    }
    await writeWholeFile(join(out, 'results.json'), reportJson(results))
    await writeWholeFile(join(out, 'report.html'), demoReport(results))
    if (options.json) {
      process.stdout.write(reportJson(results))
      return ExitCode.ok
    }
    const took = formatDuration((performance.now() - started) / 1000)
    process.stdout.write(
      `\n${demoText(results)}\n\nDone in ${took}. Open ${join(out, 'report.html')}; the model is in ${modelFolder}:\n  phsa generate --model ${modelFolder} --prompt "It is a truth"\n`,
    )
    return ExitCode.ok
  } catch (error) {
    if (!interruption.caused(error)) throw error
    say(`interrupted after training; the model lies in ${modelFolder}`)
    return ExitCode.interrupted
  }
}

interface FitInput {
  readonly data: TextDataset
  readonly punctuation: PunctuationTable
  readonly interruption: Interruption
  readonly seconds: number
}

async function fitSteps(backend: ModelBackend, { seconds, ...input }: FitInput): Promise<number> {
  say('timing a few steps')
  const times = await measureSteps(backend, input)
  if (input.interruption.requested) return 0
  const steps = stepsWithin(seconds, times)
  say(
    `a dense step takes ${times.dense.toFixed(2)} s, a sparse one ${times.sparse.toFixed(2)} s: ${steps} steps fit ${formatDuration(seconds)}`,
  )
  return steps
}

/** Everything that is measured on text that training has not seen. */
async function examine(
  model: DecoderModel,
  tools: { tokenizer: TextTokenizer; punctuation: PunctuationTable; interruption: Interruption },
): Promise<Pick<DemoResults, 'evaluation' | 'densePerplexity' | 'comparison' | 'sample' | 'passage'>> {
  const { tokenizer, punctuation, interruption } = tools
  const novel = demoNovel('valid')
  const passages = heldOutPassages(novel, tokenizer, EVALUATION)
  const { densePerplexity, rows } = await comparePolicies(model, passages, punctuation, interruption)
  say('continuing a prompt')
  const prose = tokenizer.encode(novel)
  const sample = await continuePrompt(model, prose.subarray(0, PROMPT_TOKENS), tools)
  const ids = prose.subarray(0, EVALUATION.length)
  const query = ids.length - 1
  const phsa = { ...model.phsa, topK: MAP_TOP_K }
  const passage = await selectInPassage(describePassage(ids, { tokenizer, punctuation, phsa, query }), {
    model,
    punctuation,
    ids,
    policies: [phsaPolicy, meanPoolPolicy],
    layer: Math.floor(model.config.layers / 2),
    kvHead: 0,
    queries: Array.from({ length: ids.length / 8 }, (_, index) => index * 8 + 7),
    topK: MAP_TOP_K,
  })
  return {
    evaluation: { sequences: EVALUATION.count, sequenceTokens: EVALUATION.length },
    densePerplexity,
    comparison: rows,
    sample,
    passage,
  }
}

function trainingSummary(
  events: readonly StepEvent[],
  seconds: number,
): Pick<DemoResults['training'], 'seconds' | 'tokensPerSecond' | 'points'> {
  const points = events.map(
    ({ step, tokens, loss, distillationLoss, topK }): LossPoint => ({
      step,
      tokens,
      loss,
      sparse: topK !== 'dense',
      ...(distillationLoss === undefined ? {} : { distillationLoss }),
    }),
  )
  return { seconds, tokensPerSecond: (events.at(-1)?.tokens ?? 0) / seconds, points }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}
