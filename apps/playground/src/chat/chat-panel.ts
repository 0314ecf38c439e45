import { byId, element } from '../page/element.js'
import { count, percent } from '../page/numbers.js'
import type { State } from '../page/state.js'
import {
  type AnswerPart,
  type ChatMessage,
  ChatRefusedError,
  type ChatServer,
  chat,
  connect,
  continueText,
  ownServer,
} from './chat-client.js'

/** The conversation with a running server. The key is in its field and nowhere else. */
export function showChat(state: State): void {
  const address = byId('address', HTMLInputElement)
  const messages = byId('messages')
  const message = byId('message', HTMLTextAreaElement)
  const send = byId('send', HTMLButtonElement)
  // What scrolls must be reachable by keyboard.
  messages.tabIndex = 0
  let server: ChatServer | undefined
  let history: ChatMessage[] = []
  let running: AbortController | undefined
  void ownServer().then((own) => {
    // What was typed meanwhile stays.
    if (address.value !== '') return
    if (own === undefined) say('hint', `Start one with phsa serve --model DIR --allow-origin ${location.origin}`)
    else address.value = own
  })

  byId('server', HTMLFormElement).addEventListener('submit', async (event) => {
    event.preventDefault()
    say('working', 'Connecting…')
    try {
      server = await connect(address.value, byId('key', HTMLInputElement).value)
      history = []
      say('ready', `Connected to ${server.model}.`)
      messages.replaceChildren(element('p', { class: 'empty' }, 'Say something, or begin a text.'))
      message.disabled = false
      send.disabled = false
      message.focus()
    } catch (error) {
      say('failed', (error as Error).message)
    }
  })

  byId('say', HTMLFormElement).addEventListener('submit', async (event) => {
    event.preventDefault()
    if (running) return running.abort()
    const said = message.value.trim()
    if (!server || said === '') return
    message.value = ''
    if (history.length === 0) messages.replaceChildren()
    history.push({ role: 'user', content: said })
    messages.append(element('p', { class: 'asked-for' }, said))
    running = new AbortController()
    send.textContent = 'Stop'
    const content = await answer(server, history, said, state.settings.peek().topK, running.signal)
    if (content !== undefined) history.push({ role: 'assistant', content })
    running = undefined
    send.textContent = 'Send'
  })

  message.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
    event.preventDefault()
    byId('say', HTMLFormElement).requestSubmit()
  })

  /** @returns what was answered, also when it was stopped; undefined after a failure */
  async function answer(
    to: ChatServer,
    asked: readonly ChatMessage[],
    said: string,
    topK: number,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const paragraph = messages.appendChild(element('p', { 'aria-busy': 'true' }))
    const take = async (parts: AsyncGenerator<AnswerPart>) => {
      for await (const part of parts) {
        if ('text' in part) paragraph.append(part.text)
        else paragraph.after(element('p', { class: 'usage' }, usageText(part.usage.tokens, part.usage.sparsity)))
        messages.scrollTop = messages.scrollHeight
      }
    }
    try {
      try {
        await take(chat(to, asked, topK, signal))
      } catch (error) {
        if (!(error instanceof ChatRefusedError && error.needsPlainText)) throw error
        await take(continueText(to, said, topK, signal))
      }
      return paragraph.textContent ?? ''
    } catch (error) {
      if (signal.aborted) return paragraph.textContent ?? ''
      messages.append(element('p', { class: 'failed' }, (error as Error).message))
      return undefined
    } finally {
      paragraph.removeAttribute('aria-busy')
    }
  }
}

function say(kind: string, text: string): void {
  const line = byId('server-state')
  line.dataset.kind = kind
  line.textContent = text
}

function usageText(tokens: number, sparsity: number | undefined): string {
  return `${count(tokens)} tokens${sparsity === undefined ? '' : `; ${percent(sparsity)} of the earlier text was not read again`}`
}
