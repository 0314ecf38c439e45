import type { ConfigProblem, SettingPath } from './config-problem.js'
import type { TrainConfig } from './train-config.js'

/** Settings that are right by themselves and do not go together. */
export interface Contradiction extends ConfigProblem {
  /** The other setting. */
  readonly beside?: SettingPath
}

/** What does not go together in a configuration, as far as it can be seen without any file. */
export function* contradictions(config: TrainConfig): Generator<Contradiction> {
  yield* inRun(config.run)
  yield* inDistillation(config.distillation)
  const { optimizer, checkpoint, validation, evaluation, ema, gpus = 1, backend = 'cuda' } = config
  if (optimizer.decay !== 'wsd' && optimizer.decayShare !== undefined) {
    const message = `optimizer.decayShare goes with decay wsd; with decay ${optimizer.decay} the rate falls over the whole run. Leave it out, or set decay to wsd.`
    yield { path: ['optimizer', 'decayShare'], beside: ['optimizer', 'decay'], message }
  }
  if (checkpoint.best === 'validation' && !validation) {
    const message = 'checkpoint.best is validation, but there is no validation; add that section, or leave best out.'
    yield { path: ['checkpoint', 'best'], beside: ['validation'], message }
  }
  if (ema?.validate && !validation) {
    const message =
      'ema.validate measures validation with the averaged weights, but there is no validation; add that section, or leave validate out.'
    yield { path: ['ema', 'validate'], beside: ['validation'], message }
  }
  if (evaluation) yield* inEvaluation(evaluation)
  if (gpus > 1 && backend !== 'cuda') {
    const message = `gpus is ${gpus}, but backend is ${backend}: only cuda spreads a run over several. Leave gpus out, or take cuda.`
    yield { path: ['gpus'], beside: ['backend'], message }
  }
}

function* inRun({ model, steps, tokens, ...run }: TrainConfig['run']): Generator<Contradiction> {
  for (const setting of ['shape', 'tokenizer'] as const) {
    if (model === undefined || run[setting] === undefined) continue
    yield { path: ['run', setting], message: `run.${setting} does not go with run.model, which brings its own; leave one of them out.` }
  }
  if (steps !== undefined && tokens !== undefined) {
    yield { path: ['run', 'tokens'], message: 'run.steps and run.tokens both say how long the run is; leave one of them out.' }
  }
  const { heads, kvHeads, headDim } = run.shape ?? { heads: 1, kvHeads: 1, headDim: 2 }
  if (heads % kvHeads !== 0) {
    yield {
      path: ['run', 'shape', 'heads'],
      message: `run.shape.heads is ${heads}; it must be a multiple of kvHeads, which is ${kvHeads}.`,
    }
  }
  if (headDim % 2 !== 0) {
    yield { path: ['run', 'shape', 'headDim'], message: `run.shape.headDim is ${headDim}; rotary embedding needs an even number.` }
  }
}

function* inDistillation({ lambda, lambdaLearningRate }: TrainConfig['distillation']): Generator<Contradiction> {
  if (lambdaLearningRate === undefined || lambda === 'learned') return
  const message = 'distillation.lambdaLearningRate is set, but lambda is fixed; set distillation.lambda to learned, or leave the rate out.'
  yield { path: ['distillation', 'lambdaLearningRate'], beside: ['distillation', 'lambda'], message }
}

function* inEvaluation({ path, choices, needle, positions }: NonNullable<TrainConfig['evaluation']>): Generator<Contradiction> {
  if (path !== undefined) return
  if (choices === undefined) yield { path: ['evaluation'], message: 'evaluation has neither path nor choices; give one, or leave it out.' }
  else if (needle || positions) {
    yield { path: ['evaluation'], message: 'evaluation.needle and positions measure on a text; give evaluation.path.' }
  }
}
