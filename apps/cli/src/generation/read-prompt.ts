import { text } from 'node:stream/consumers'
import { type ChatMessage, renderChat, type TextTokenizer } from '@phsa/model'
import { readText } from '../read-text.js'
import { UsageError } from '../usage-error.js'

/** Where a prompt comes from, and whether it is a message. */
export interface PromptChoice {
  readonly prompt?: string
  readonly promptFile?: string
  readonly chat?: boolean
  readonly system?: string
}

/**
 * The text of `--prompt`, of stdin where that is "-", or of `--prompt-file`. Without the line break that ends a file: a model would go on after it.
 * @throws UsageError without a prompt, or with --system alone
 */
export async function readPrompt({ prompt, promptFile, chat, system }: PromptChoice): Promise<string> {
  if (system !== undefined && !chat) throw new UsageError('--system is a message of a conversation; give --chat too, or leave it out.')
  if (promptFile !== undefined) return withoutLastBreak(await readText(promptFile))
  if (prompt === undefined) throw new UsageError('there is no prompt; give --prompt TEXT, --prompt - for stdin, or --prompt-file FILE.')
  if (prompt !== '-') return prompt
  const piped = withoutLastBreak(await text(process.stdin))
  if (piped === '') throw new UsageError('--prompt - reads stdin, which is empty; pipe some text into it.')
  return piped
}

/** The prompt as the model gets it: with `--chat` through the folder's chat template. */
export function promptText(prompt: string, tokenizer: TextTokenizer, { chat, system }: PromptChoice): string {
  if (!chat) return prompt
  const messages: ChatMessage[] = [
    ...(system === undefined ? [] : [{ role: 'system', content: system }]),
    { role: 'user', content: prompt },
  ]
  return renderChat(tokenizer, messages)
}

function withoutLastBreak(content: string): string {
  return content.replace(/\r?\n$/, '')
}
