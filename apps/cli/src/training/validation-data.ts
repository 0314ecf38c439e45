import { DocumentReader, heldOutBatches, TextDataset, type ValidationOptions } from '@phsa/trainer'
import type { TrainPlan } from '../training-config/train-plan.js'
import { UsageError } from '../usage-error.js'

/**
 * The held-out text of a run as the trainer measures it; undefined without one.
 * @throws UsageError when it is shorter than a window, and what reading it throws
 */
export async function validationData({ config, model }: TrainPlan): Promise<ValidationOptions | undefined> {
  if (config.validation === undefined) return undefined
  const { path, textField, split, every, windows: wanted } = config.validation
  const { tokens } = config.batch
  const data = await TextDataset.fromDocuments(await DocumentReader.open([path], { textField, split }), model.tokenizer)
  const windows = Math.min(wanted, Math.floor(data.totalTokens / tokens))
  if (windows === 0) {
    throw new UsageError(
      `${path} has ${data.totalTokens} tokens, less than one window of ${tokens}; give a longer text, or smaller batch.tokens (--sequence-tokens).`,
    )
  }
  return { batches: heldOutBatches(data, { windows, tokens, punctuation: model.punctuation }), every }
}
