import type { PolicyName } from '@phsa/core'
import type { TrainingBatch } from '@phsa/model'
import {
  type Calibration,
  calibrate,
  type EvaluationRow,
  evaluateRetrieval,
  evaluateSelections,
  heldOutBatches,
  type RetrievalOptions,
  type RetrievalRow,
} from '@phsa/trainer'
import type { StudySession } from './study-session.js'

/** What is measured of a model; plain JSON. */
export interface ModelEvaluation {
  /** Dense first, then each policy at each topK, all on the same prompts. */
  readonly retrieval: readonly RetrievalRow[]
  /** Perplexity and attention-mass recall on held-out text, the same lines. */
  readonly selections: readonly EvaluationRow[]
  /** What `phsa calibrate` says of the model, on other held-out text. */
  readonly calibration: Calibration
}

/** Measures a model as the study's configuration says, with the model's own PHSA parameters; every model of every seed on the same prompts and text. */
export async function evaluateModel(session: StudySession, policies: readonly PolicyName[]): Promise<ModelEvaluation> {
  const { config, model, signal } = session
  const { topKs, windows, rows, retrieval } = config.evaluation
  const found = await resultOf(evaluateRetrieval({ ...prompts(session, retrieval.trials), policies, topKs, signal }))
  const batches = textWindows(session).slice(0, windows)
  const selections = await resultOf(evaluateSelections({ model, batches, policies, topKs, rows, signal }))
  return { retrieval: found, selections, calibration: await calibrateModel(session) }
}

/** Dense retrieval on some of the prompts, in percent. No signal stops it: the step that it belongs to is not come by again. */
export async function probeRetrieval(session: StudySession): Promise<number> {
  const { trials } = session.config.evaluation.probe
  const [dense] = await resultOf(evaluateRetrieval({ ...prompts(session, trials), policies: [], topKs: [] }))
  return dense.overall.accuracy
}

/** Which lambdas the model wants, on other windows than those of perplexity and recall. */
function calibrateModel(session: StudySession): Promise<Calibration> {
  const { config, model, signal } = session
  const { windows, calibration } = config.evaluation
  const batches = textWindows(session).slice(windows)
  return resultOf(calibrate({ model, batches, rows: calibration.rows, representatives: [1, 2], scores: ['softmax'], signal }))
}

function prompts({ config, data, model }: StudySession, trials: number): Omit<RetrievalOptions, 'policies' | 'topKs'> {
  const { haystack, task, punctuation } = data
  return { ...config.evaluation.retrieval, trials, model, haystack, task, punctuation }
}

/** Those for perplexity and recall, then those for calibration. */
function textWindows({ config, data: { valid, punctuation } }: StudySession): TrainingBatch[] {
  const { windows, calibration } = config.evaluation
  return heldOutBatches(valid, { windows: windows + calibration.windows, tokens: config.batch.tokens, punctuation })
}

/** Runs a measurement to its end. */
async function resultOf<T>(run: AsyncGenerator<unknown, T>): Promise<T> {
  for (;;) {
    const { value, done } = await run.next()
    if (done) return value
  }
}
