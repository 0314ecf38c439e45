/** One multiple-choice question, as the lines of lm-evaluation-harness tasks hold it. */
export interface ChoiceRecord {
  /** Line in its file, from 1. */
  readonly line: number
  /** What stands before every choice: `context`, or `query` where there is none. */
  readonly context: string
  /** Two or more texts. */
  readonly choices: readonly string[]
  /** Index of the right one. */
  readonly gold: number
}

/** A record that cannot be scored. */
export interface ChoiceFault {
  /** Line in its file, from 1. */
  readonly line: number
  readonly reason: string
}

/** A file's records, and what is wrong with its other lines. */
export interface ChoiceFile {
  readonly records: readonly ChoiceRecord[]
  readonly faults: readonly ChoiceFault[]
}

/**
 * Reads a multiple-choice task: a JSON object a line with `context` or `query` (text), `choices` (texts) and `gold` (index of the right one, from 0). Other
 * fields are left alone, blank lines too; a line that is no such record is reported and left out.
 */
export function parseChoices(text: string): ChoiceFile {
  const records: ChoiceRecord[] = []
  const faults: ChoiceFault[] = []
  for (const [index, content] of text.split('\n').entries()) {
    if (content.trim() === '') continue
    const line = index + 1
    const record = recordOf(content)
    if (typeof record === 'string') faults.push({ line, reason: record })
    else records.push({ line, ...record })
  }
  return { records, faults }
}

/** The record of a line, or what is wrong with it. */
function recordOf(content: string): Omit<ChoiceRecord, 'line'> | string {
  let json: unknown
  try {
    json = JSON.parse(content)
  } catch (error) {
    return `it is no JSON (${(error as Error).message})`
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return 'it is no JSON object'
  const { context, query, choices, gold } = json as Record<string, unknown>
  const before = context ?? query
  if (typeof before !== 'string' || before.trim() === '') return 'context (or query) must be a text that is not empty'
  if (!Array.isArray(choices) || choices.length < 2) return 'choices must be a list of two texts or more'
  if (!choices.every((choice): choice is string => typeof choice === 'string' && choice.trim() !== '')) {
    return 'every one of choices must be a text that is not empty'
  }
  if (!Number.isInteger(gold) || (gold as number) < 0 || (gold as number) >= choices.length) {
    return `gold is ${JSON.stringify(gold)}; it must be the index of one of the ${choices.length} choices, from 0`
  }
  return { context: before, choices, gold: gold as number }
}
