import { type DType, type PhsaConfig, selectionPolicy } from '@phsa/core'
import { type DecoderModel, type GenerateTextOptions, generateText, type TextTokenizer } from '@phsa/model'
import { withBackend } from '../backends.js'
import { ExitCode } from '../exit-code.js'
import { collectText } from '../generation/collect-text.js'
import { type GenerationChoice, generationSettings } from '../generation/generation-settings.js'
import { type PromptChoice, promptText, readPrompt } from '../generation/read-prompt.js'
import { interruptible } from '../interruption.js'
import { loadTextModel } from '../load-text-model.js'
import { reportJson } from '../report-json.js'

export interface GenerateOptions extends GenerationChoice, PromptChoice {
  readonly model: string
  readonly topK?: number
  readonly dense?: boolean
  readonly policy: string
  readonly backend?: string
  readonly dtype?: DType
  readonly json?: boolean
}

/** Prints the prompt and its continuation as the tokens come, or one report at the end. */
export async function runGenerate(options: GenerateOptions): Promise<ExitCode> {
  const policy = selectionPolicy(options.policy)
  const phsa: Partial<PhsaConfig> = options.topK === undefined ? {} : { topK: options.topK }
  const given = await readPrompt(options)
  return interruptible((interruption) =>
    withBackend(options.backend, async (backend) => {
      const { model, tokenizer, punctuation, generation } = await loadTextModel(options.model, { backend, phsa, dtype: options.dtype })
      try {
        if (generation.unsupported) {
          process.stderr.write(`generation_config.json sets ${generation.unsupported.join(', ')}, which is not followed\n`)
        }
        const prompt = promptText(given, tokenizer, options)
        const room = model.config.maxPositions - tokenizer.encode(prompt).length
        const settings = {
          ...generationSettings(options, generation, room),
          attention: options.dense ? ('dense' as const) : { policy, phsa: model.phsa },
          punctuation,
          signal: interruption.signal,
        }
        if (options.json) return await writeReport(model, tokenizer, prompt, settings)
        // With the first piece and not before it: what cannot be generated leaves nothing on stdout.
        let before = options.chat ? '' : prompt
        for await (const piece of generateText(model, tokenizer, prompt, settings)) {
          process.stdout.write(before + piece)
          before = ''
        }
        process.stdout.write(`${before}\n`)
        return ExitCode.ok
      } catch (error) {
        if (!interruption.caused(error)) throw error
        process.stdout.write('\n')
        return ExitCode.interrupted
      } finally {
        model.dispose()
      }
    }),
  )
}

/** An interrupted text is reported as far as it came. */
async function writeReport(
  model: DecoderModel,
  tokenizer: TextTokenizer,
  prompt: string,
  settings: GenerateTextOptions,
): Promise<ExitCode> {
  const started = performance.now()
  const { text, ids, ended } = await collectText(model, tokenizer, prompt, settings)
  const seconds = (performance.now() - started) / 1000
  const promptTokens = tokenizer.encode(prompt).length
  process.stdout.write(reportJson({ prompt, text, ids, promptTokens, newTokens: ids.length, seconds, stopReason: ended }))
  return ended === 'interrupted' ? ExitCode.interrupted : ExitCode.ok
}
