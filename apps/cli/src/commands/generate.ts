import { type PhsaConfig, selectionPolicy } from '@phsa/core'
import { type AttentionChoice, generateText, loadModel, type SamplingSettings } from '@phsa/model'
import { withBackend } from '../backends.js'
import { ExitCode } from '../exit-code.js'
import { interruptible } from '../interruption.js'
import { UsageError } from '../usage-error.js'

export interface GenerateOptions {
  readonly model: string
  readonly prompt: string
  readonly topK?: number
  readonly dense?: boolean
  readonly policy: string
  readonly maxNewTokens: number
  readonly temperature?: number
  readonly sampleTopK?: number
  readonly topP?: number
  readonly minP?: number
  readonly seed?: number
  readonly stop?: readonly string[]
  readonly backend?: string
}

/** Prints the prompt and its continuation as the tokens come. */
export async function runGenerate(options: GenerateOptions): Promise<ExitCode> {
  const policy = selectionPolicy(options.policy)
  const settings: Partial<PhsaConfig> = options.topK === undefined ? {} : { topK: options.topK }
  return interruptible((interruption) =>
    withBackend(options.backend, async (backend) => {
      const { model, tokenizer, punctuation } = await loadModel(options.model, { backend, phsa: settings })
      try {
        if (!tokenizer)
          throw new UsageError(`${options.model} has no tokenizer.json, which the prompt is read with; copy the model's tokenizer into it.`)
        const attention: AttentionChoice | 'dense' = options.dense ? 'dense' : { policy, phsa: model.phsa }
        process.stdout.write(options.prompt)
        const pieces = generateText(model, tokenizer, options.prompt, {
          maxNewTokens: options.maxNewTokens,
          attention,
          punctuation,
          sampling: samplingOf(options),
          stop: options.stop,
          signal: interruption.signal,
        })
        for await (const piece of pieces) process.stdout.write(piece)
        process.stdout.write('\n')
        return ExitCode.ok
      } catch (error) {
        if (!interruption.requested || error !== interruption.signal.reason) throw error
        process.stdout.write('\n')
        return ExitCode.interrupted
      } finally {
        model.dispose()
      }
    }),
  )
}

/** Any sampling option asks for sampling; without one the choice is greedy. */
function samplingOf({ temperature, sampleTopK: topK, topP, minP, seed }: GenerateOptions): SamplingSettings | undefined {
  const settings: SamplingSettings = { temperature, topK, topP, minP, seed }
  return Object.values(settings).some((value) => value !== undefined) ? settings : undefined
}
