import { sha256 } from '@noble/hashes/sha2'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils'
import { InvalidConfigError, RandomStream } from '@phsa/core'
import { requireInteger, requireRange } from '../number-settings.js'
import type { PackedRow, RowOptions, RowSource, TrainingData } from '../training-data.js'
import type { NeedleTask, NeedleTrial } from './needle-task.js'

/** Text, and what is hidden in it and asked for. */
export interface NeedleRowOptions {
  /** The text; its rows are the filler. */
  readonly data: TrainingData
  /** What is hidden: the same task as in `evaluateRetrieval` teaches the form of its questions. */
  readonly task: NeedleTask
  /** Share of the rows that hide something, 0 to 1; default 0.5. */
  readonly share?: number
  /** Facts in such a row, each asked for once; drawn evenly. Default 8 to 16. */
  readonly needles?: { readonly least: number; readonly most: number }
  /** Share of the questions that stand at the end of the row, 0 to 1; the others follow their fact at any distance, near ones as often as far ones. Default 0.6. */
  readonly endShare?: number
  /** What predicting a token of an answer counts, relative to 1 for every other token; default 5. */
  readonly answerWeight?: number
  /** Different trials of the task that a seed draws from, each made when it is first drawn; default 8192. */
  readonly trials?: number
}

type NeedleRowSettings = Required<NeedleRowOptions>

/** By seed and number. */
type MadeTrials = Map<string, NeedleTrial>

/**
 * Training rows that teach a model to look back: runs of a text with facts at random places and, later in the row, questions with their answers, which count
 * more than other tokens. A row is one sequence, so all rows have the same lengths; documents that meet in a row of `data` stay beside each other with their
 * separator. Facts and questions are put between two tokens of the text, as in the prompts of `evaluateRetrieval`. Seed and index decide a row.
 * @throws InvalidConfigError for wrong settings; when a row is asked for, where it has no room or the task has too few different questions
 */
export function needleRows(options: NeedleRowOptions): TrainingData {
  const settings: NeedleRowSettings = {
    share: 0.5,
    endShare: 0.6,
    answerWeight: 5,
    trials: 8192,
    ...options,
    needles: options.needles ?? { least: 8, most: 16 },
  }
  const { data, task, ...drawn } = settings
  requireRange('share', drawn.share, 0, 1)
  requireRange('endShare', drawn.endShare, 0, 1)
  requireRange('answerWeight', drawn.answerWeight, 0, Number.MAX_VALUE)
  requireInteger('trials', drawn.trials, 1)
  requireInteger('needles.least', drawn.needles.least, 1)
  requireInteger('needles.most', drawn.needles.most, drawn.needles.least)
  const { needle, question, answer } = task.trial(new RandomStream(0))
  // Text is tokenized once for all runs that read this data.
  const made: MadeTrials = new Map()
  const content = JSON.stringify([data.fingerprint, drawn, [needle, question, answer].map((ids) => Array.from(ids))])
  return {
    fingerprint: bytesToHex(sha256(utf8ToBytes(content))).slice(0, 16),
    largestId: data.largestId,
    rows: (rowOptions) => new NeedleRows(settings, rowOptions, made),
  }
}

/** Something to put into the filler before its token number `place`. */
interface Insertion {
  readonly place: number
  readonly ids: Int32Array
  /** Tokens at its end that are an answer. */
  readonly answer: number
}

/** Draws in a row that may give a question that the row has already. */
const MOST_REPEATS = 1000

class NeedleRows implements RowSource {
  readonly #settings: NeedleRowSettings
  readonly #options: RowOptions
  readonly #filler: RowSource
  readonly #made: MadeTrials

  constructor(settings: NeedleRowSettings, options: RowOptions, made: MadeTrials) {
    this.#settings = settings
    this.#options = options
    this.#filler = settings.data.rows(options)
    this.#made = made
  }

  row(index: number): PackedRow {
    const { share, needles, answerWeight } = this.#settings
    const filler = joined(this.#filler.row(index).sequences)
    const random = streamOf(this.#options.seed, index, 0x632be5ab)
    if (random.uniform() >= share) return { sequences: [filler] }
    const trials = this.#differentTrials(needles.least + random.below(needles.most - needles.least + 1), random)
    const inserted = trials.reduce((sum, { needle, question, answer }) => sum + needle.length + question.length + answer.length, 0)
    const room = this.#options.sequenceTokens - inserted
    if (room < 1) {
      throw new InvalidConfigError(
        'needles',
        `${trials.length} facts with their questions take ${inserted} tokens, a row has ${this.#options.sequenceTokens}; give fewer needles or longer rows.`,
      )
    }
    const ids = new Int32Array(this.#options.sequenceTokens)
    const weights = new Float32Array(ids.length).fill(1)
    let [taken, end] = [0, 0]
    for (const insertion of this.#insertions(trials, room, random)) {
      ids.set(filler.subarray(taken, insertion.place), end)
      end += insertion.place - taken
      taken = insertion.place
      ids.set(insertion.ids, end)
      end += insertion.ids.length
      weights.fill(answerWeight, end - insertion.answer, end)
    }
    ids.set(filler.subarray(taken, room), end)
    return { sequences: [ids], targetWeights: [weights] }
  }

  /** Facts and questions by rising place; at the same place facts come first, so that no question stands before its fact. */
  #insertions(trials: readonly NeedleTrial[], room: number, random: RandomStream): Insertion[] {
    const facts: Insertion[] = []
    const questions: Insertion[] = []
    for (const { needle, question, answer } of trials) {
      const isAtEnd = random.uniform() < this.#settings.endShare
      const distance = Math.min(room, Math.floor(room ** random.uniform()))
      const place = random.below(isAtEnd ? room + 1 : room - distance + 1)
      facts.push({ place, ids: needle, answer: 0 })
      questions.push({ place: isAtEnd ? room : place + distance, ids: joined([question, answer]), answer: answer.length })
    }
    // Sorting keeps the order of what is at the same place.
    return [...facts, ...questions].sort((left, right) => left.place - right.place)
  }

  /** Two facts with one key would have two right answers. */
  #differentTrials(count: number, random: RandomStream): NeedleTrial[] {
    const chosen = new Map<string, NeedleTrial>()
    for (let draw = 0; chosen.size < count; draw++) {
      const trial = this.#trial(random.below(this.#settings.trials))
      const key = trial.question.join()
      if (!chosen.has(key)) chosen.set(key, trial)
      if (draw < count + MOST_REPEATS) continue
      throw new InvalidConfigError(
        'needles',
        `a row takes ${count} facts, but the task asks only ${chosen.size} different questions in ${draw} draws; give fewer needles, or more trials.`,
      )
    }
    return [...chosen.values()]
  }

  #trial(number: number): NeedleTrial {
    const { seed } = this.#options
    const name = `${seed} ${number}`
    const known = this.#made.get(name)
    if (known) return known
    const trial = this.#settings.task.trial(streamOf(seed, number, 0x3c6ef372))
    this.#made.set(name, trial)
    return trial
  }
}

function joined(parts: readonly Int32Array[]): Int32Array {
  const ids = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let end = 0
  for (const part of parts) {
    ids.set(part, end)
    end += part.length
  }
  return ids
}

/** A stream of its own for each number and purpose: a row can be made without those before it. */
function streamOf(seed: number, number: number, purpose: number): RandomStream {
  const mixed = new RandomStream(seed ^ purpose).integer() ^ Math.imul(number + 1, 0x9e3779b1)
  return new RandomStream(new RandomStream(mixed).integer())
}
