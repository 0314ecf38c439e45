import { join } from 'node:path'
import { runEval } from '../commands/eval.js'
import type { ExitCode } from '../exit-code.js'
import type { TrainConfig } from '../training-config/train-config.js'
import { RUN_EVALUATION } from './run-files.js'

/** Measures the finished model as it was saved, with a backend of its own. @param json whether stdout is for JSON: the results are in files then */
export async function evaluateRun({ evaluation, out, policy, batch, seed, backend, dtype }: TrainConfig, json: boolean): Promise<ExitCode> {
  const { path = [], policies = [policy], tokens = batch.tokens, ...rest } = evaluation!
  const file = join(out, RUN_EVALUATION)
  const place = { model: out, seed, backend, dtype, out: `${file}.json`, html: `${file}.html` }
  return runEval(typeof path === 'string' ? [path] : path, { ...place, policies, tokens, ...rest, silent: json })
}
