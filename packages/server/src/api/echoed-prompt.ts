import { TextStream } from '@phsa/model'
import type { ApiContext } from './api-context.js'

/** A prompt as `echo` gives it back. */
export interface EchoedPrompt {
  readonly text: string
  /** Characters before each of its tokens. */
  readonly offsets: readonly number[]
}

/** The text of a prompt's tokens, and where they begin in it. */
export function echoedPrompt(ids: Int32Array, { answers }: Pick<ApiContext, 'answers'>): EchoedPrompt {
  const stream = new TextStream(answers)
  const offsets: number[] = []
  let text = ''
  for (const id of ids) {
    offsets.push(text.length)
    text += stream.push(id)
  }
  return { text: text + stream.end(), offsets }
}
