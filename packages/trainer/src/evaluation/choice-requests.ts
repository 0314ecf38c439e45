import type { ChoiceFault, ChoiceRecord } from './choice-records.js'
import type { NeedleTokenizer } from './text-needle.js'

/** One choice of one record as tokens. */
export interface ChoiceRequest {
  /** Index of the record, and of the choice in it. */
  readonly record: number
  readonly choice: number
  /** What the model reads: the context and the choice but for its last token. */
  readonly input: Int32Array
  /** Tokens of the choice; the first is predicted from row `input.length - targets.length`. */
  readonly targets: Int32Array
  /** UTF-8 bytes of the choice, which its likelihood is divided by for acc_norm. */
  readonly bytes: number
}

/** A sequence to run, and the requests that are read off it. */
export interface ChoiceSequence {
  readonly ids: Int32Array
  readonly requests: readonly ChoiceRequest[]
}

/** Requests of all records that can be scored, and what is wrong with the others. */
export interface ChoiceRequests {
  /** Records, in the order of `ChoiceRequest.record`. */
  readonly records: readonly ChoiceRecord[]
  readonly requests: readonly ChoiceRequest[]
  readonly faults: readonly ChoiceFault[]
}

/**
 * Tokenizes every choice behind its context, the two with `delimiter` between. White space at the end of a context goes to the choice, and where the tokenizer
 * joins both at their border, the choice begins with the first token that differs. The delimiter is that of lm-evaluation-harness.
 * @param maxPositions a record with a longer sequence is a fault
 */
export function choiceRequests(
  records: readonly ChoiceRecord[],
  tokenizer: NeedleTokenizer,
  maxPositions: number,
  delimiter = ' ',
): ChoiceRequests {
  const kept: ChoiceRecord[] = []
  const requests: ChoiceRequest[] = []
  const faults: ChoiceFault[] = []
  for (const record of records) {
    const made = record.choices.map((choice, index) => request(record.context, choice, kept.length, index, tokenizer, delimiter))
    const longest = Math.max(...made.map(({ input }) => input.length))
    if (made.some(({ targets, input }) => targets.length === 0 || targets.length > input.length)) {
      faults.push({ line: record.line, reason: 'context and choice give too few tokens to predict the choice from the context' })
    } else if (longest > maxPositions) {
      faults.push({
        line: record.line,
        reason: `it has ${longest} tokens with its longest choice; this model takes at most ${maxPositions}`,
      })
    } else {
      kept.push(record)
      requests.push(...made)
    }
  }
  return { records: kept, requests, faults }
}

function request(
  context: string,
  choice: string,
  record: number,
  index: number,
  tokenizer: NeedleTokenizer,
  delimiter: string,
): ChoiceRequest {
  const before = Array.from(tokenizer.encode(context.trimEnd()))
  const whole = Int32Array.from(tokenizer.encode(`${context}${delimiter}${choice}`))
  let border = 0
  while (border < before.length && before[border] === whole[border]) border++
  const bytes = new TextEncoder().encode(choice).length
  return { record, choice: index, input: whole.slice(0, -1), targets: whole.slice(border), bytes }
}

/**
 * The sequences that all requests can be read off: a request whose input begins another's needs no sequence of its own, because no token sees later ones.
 * Choices of one token share one sequence, and so do records that stand several times.
 */
export function sharedSequences(requests: readonly ChoiceRequest[]): ChoiceSequence[] {
  // In this order everything that begins with an input stands right behind it.
  const sorted = [...requests].sort((left, right) => compareIds(left.input, right.input))
  const sequences: { ids: Int32Array; requests: ChoiceRequest[] }[] = []
  for (const request of sorted.reverse()) {
    const last = sequences.at(-1)
    if (last && beginsWith(last.ids, request.input)) last.requests.push(request)
    else sequences.push({ ids: request.input, requests: [request] })
  }
  return sequences
}

/** Packs sequences, longest first, into batches of at most so many tokens; a longer one has a batch of its own. */
export function packSequences(sequences: readonly ChoiceSequence[], batchTokens: number): ChoiceSequence[][] {
  const batches: { tokens: number; sequences: ChoiceSequence[] }[] = []
  for (const sequence of [...sequences].sort((left, right) => right.ids.length - left.ids.length)) {
    const { length } = sequence.ids
    const last = batches.at(-1)
    if (last && last.tokens + length <= batchTokens) {
      last.tokens += length
      last.sequences.push(sequence)
    } else batches.push({ tokens: length, sequences: [sequence] })
  }
  return batches.map(({ sequences }) => sequences)
}

function compareIds(left: Int32Array, right: Int32Array): number {
  const shared = Math.min(left.length, right.length)
  for (let place = 0; place < shared; place++) if (left[place] !== right[place]) return left[place] - right[place]
  return left.length - right.length
}

function beginsWith(ids: Int32Array, start: Int32Array): boolean {
  return start.length <= ids.length && start.every((id, place) => id === ids[place])
}
