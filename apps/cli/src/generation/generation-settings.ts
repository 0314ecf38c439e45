import type { GenerationSettings, SamplingSettings } from '@phsa/model'

/** How much to write and how to draw, as the command line has it. */
export interface GenerationChoice {
  readonly maxNewTokens?: number
  readonly temperature?: number
  readonly sampleTopK?: number
  readonly topP?: number
  readonly minP?: number
  readonly repetitionPenalty?: number
  readonly seed?: number
  readonly stop?: readonly string[]
}

/** Tokens that are written at most where neither the command line nor the folder says. */
const USUAL_NEW_TOKENS = 64

/**
 * What the command line says, and where it is silent the folder's generation_config.json.
 * @param room positions that the prompt leaves; the folder's own length gives way to it
 */
export function generationSettings(
  choice: GenerationChoice,
  folder: GenerationSettings,
  room: number,
): { maxNewTokens: number; stop: readonly string[]; sampling: SamplingSettings | undefined } {
  return {
    maxNewTokens: choice.maxNewTokens ?? Math.max(1, Math.min(folder.maxNewTokens ?? USUAL_NEW_TOKENS, room)),
    stop: choice.stop ?? folder.stop ?? [],
    sampling: samplingOf(choice, folder.sampling),
  }
}

/** Options of drawing ask for it, at temperature 1 unless another is known; a repetition penalty or a seed alone does not. */
function samplingOf(choice: GenerationChoice, folder: SamplingSettings = { temperature: 0 }): SamplingSettings {
  const { temperature, sampleTopK: topK, topP, minP, repetitionPenalty, seed } = choice
  const drawing = { topK, topP, minP }
  const draws = Object.values(drawing).some((value) => value !== undefined)
  const usual = draws && folder.temperature === 0 ? 1 : folder.temperature
  const given = { temperature: temperature ?? usual, ...drawing, repetitionPenalty, seed }
  return { ...folder, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) }
}
