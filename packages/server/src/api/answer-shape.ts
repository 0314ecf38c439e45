import type { AnswerPiece } from './choice-events.js'
import type { CountedEvent } from './run-generation.js'
import type { Usage } from './usage.js'

/** A choice at its end. */
export interface FinishedChoice {
  /** Its place among the requests of the plan. */
  readonly index: number
  readonly started: Extract<CountedEvent, { type: 'started' }>
  readonly text: string
  readonly tokens: AnswerPiece['tokens']
  readonly end: Extract<CountedEvent, { type: 'end' }>
}

/** How a route writes what was generated: whole, or as the chunks of a stream. */
export interface AnswerShape {
  /** @param choices all that were made, in the order of the plan's requests */
  whole(choices: readonly FinishedChoice[], usage: Usage): object
  /** The chunk of an event; undefined where it has nothing to say. */
  chunk(index: number, event: CountedEvent): object | undefined
  /** The last chunk, where the request asks for it. */
  usageChunk(usage: Usage): object
}
