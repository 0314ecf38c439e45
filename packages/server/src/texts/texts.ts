import type { TextTokenizer } from '@phsa/model'
import { chatPrompt } from '../api/chat-prompt.js'
import type { Conversation } from '../api/schemas/chat-schema.js'

/** Texts to token ids and back, wherever that is done. All throw what the tokenizer throws, the signal's reason, and QueueFullError. */
export interface Texts {
  encode(text: string, signal?: AbortSignal): Promise<Int32Array>
  /** Ids of a conversation, by the chat template. @throws ApiError 400 where the template does not take it */
  encodeChat(conversation: Conversation, addGenerationPrompt: boolean, signal?: AbortSignal): Promise<Int32Array>
  decode(ids: readonly number[], signal?: AbortSignal): Promise<string>
}

/** Texts in the calling thread. */
export class InlineTexts implements Texts {
  readonly #tokenizer: TextTokenizer

  constructor(tokenizer: TextTokenizer) {
    this.#tokenizer = tokenizer
  }

  async encode(text: string): Promise<Int32Array> {
    return this.#tokenizer.encode(text)
  }

  async encodeChat(conversation: Conversation, addGenerationPrompt: boolean): Promise<Int32Array> {
    return this.#tokenizer.encode(chatPrompt(conversation, this.#tokenizer, addGenerationPrompt))
  }

  async decode(ids: readonly number[]): Promise<string> {
    return this.#tokenizer.decode(ids)
  }
}
