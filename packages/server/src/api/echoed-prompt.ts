import { TextStream } from '@phsa/model'
import type { ApiContext } from './api-context.js'

/** Ids that are decoded before others of this thread get their turn: a few milliseconds. */
const IDS_A_TURN = 512

/** A prompt as `echo` gives it back. */
export interface EchoedPrompt {
  readonly text: string
  /** Characters before each of its tokens. */
  readonly offsets: readonly number[]
}

/**
 * The text of a prompt's tokens, and where they begin in it.
 * @throws the signal's reason
 */
export async function echoedPrompt(
  ids: Int32Array,
  { answers, turns }: Pick<ApiContext, 'answers' | 'turns'>,
  signal?: AbortSignal,
): Promise<EchoedPrompt> {
  const stream = new TextStream(answers)
  const offsets: number[] = []
  let text = ''
  for (const [index, id] of ids.entries()) {
    if (index > 0 && index % IDS_A_TURN === 0) await turns.next()
    signal?.throwIfAborted()
    offsets.push(text.length)
    text += stream.push(id)
  }
  return { text: text + stream.end(), offsets }
}
