import { batch, effect } from '@preact/signals-core'
import { proxy, type Remote } from 'comlink'
import type { AttentionSettings, Lab, LookBackQuestion, Place, Progress } from '../lab-contract.js'
import { latest } from './latest.js'
import { count } from './numbers.js'
import type { State, Status, TextChoice } from './state.js'
import { trainedSettings } from './trained-settings.js'
import { usualTokens } from './usual-tokens.js'
import { whileRunning } from './while-running.js'

/** Milliseconds of quiet before the budgets are measured again. */
const QUIET = 250

/** Keeps worker and state together: opens the model, reads the text that is chosen, and asks whenever something changes. */
export class Session {
  readonly #state: State
  readonly #lab: Remote<Lab>
  readonly #place: Place | undefined

  constructor(state: State, lab: Remote<Lab>, place: Place | undefined) {
    this.#state = state
    this.#lab = lab
    this.#place = place
    const read = latest((choice: Required<TextChoice>) => this.#working(() => this.#read(choice)))
    const ask = latest((question: LookBackQuestion) => this.#working(() => this.#ask(question)))
    const measure = latest((settings: AttentionSettings) => this.#working(() => this.#measure(settings)))
    effect(() => {
      const { lab, choice } = state
      if (lab.value && choice.value) read({ text: choice.value.text, maxTokens: choice.value.maxTokens ?? usualTokens(lab.value) })
    })
    effect(() => {
      const { settings, query, layer } = state
      if (state.document.value) ask({ settings: settings.value, query: query.value, layer: layer.value })
    })
    let timer = 0
    let before = ''
    effect(() => {
      const text = state.document.value
      // The chart has all budgets: topK changes nothing in it.
      const { topK: _, ...rest } = state.settings.value
      const key = JSON.stringify(rest)
      if (!text || (key === before && state.recall.peek().length > 0)) return
      before = key
      clearTimeout(timer)
      timer = window.setTimeout(() => measure(state.settings.peek()), QUIET)
    })
  }

  /** Loads the model, then reads. Also what "try again" does. */
  async open(modelAddress: string): Promise<void> {
    await this.#working(async () => {
      const state = this.#state
      state.lab.value = undefined
      const lab = await this.#reported((report) => this.#lab.open(modelAddress, this.#place, report))
      batch(() => {
        state.settings.value = trainedSettings(lab)
        // Two thirds up: below, attention often lies on one place or evenly on all, and every method sees as much of it.
        state.layer.value = Math.floor((2 * lab.layers) / 3)
        state.lab.value = lab
      })
    })
  }

  async #read({ text, maxTokens }: Required<TextChoice>): Promise<void> {
    const state = this.#state
    const tokens = await this.#reported((report) => this.#lab.read(text, maxTokens, report))
    batch(() => {
      state.answer.value = undefined
      state.recall.value = []
      state.query.value = lastWord(tokens.texts)
      state.document.value = tokens
      const { blockSize } = state.settings.value
      const read = tokens.texts.length
      const marks = tokens.punctuation.reduce((sum, mark) => sum + mark, 0)
      const cut = tokens.total > read ? `, the first of ${count(tokens.total)}` : ''
      state.status.value = {
        kind: 'ready',
        text: `${count(read)} tokens${cut} · ${count(Math.ceil(read / blockSize))} blocks · ${count(marks)} punctuation marks`,
      }
    })
  }

  async #ask(question: LookBackQuestion): Promise<void> {
    const { document, answer } = this.#state
    const asked = document.peek()
    const heads = await this.#lab.lookBack(question)
    // Another text may have been read meanwhile.
    if (document.peek() === asked) answer.value = { question, heads }
  }

  async #measure(settings: AttentionSettings): Promise<void> {
    const { document, recall, lab } = this.#state
    const asked = document.peek()
    const layers = lab.peek()?.layers ?? 0
    const measured = []
    for (let layer = 0; layer < layers; layer++) {
      const points = await this.#lab.measureRecall(settings, layer)
      if (document.peek() !== asked) return
      measured.push(points)
      // The old curve stays until the new one is whole, so that the drawing does not jump.
      if (recall.peek().length < layers || measured.length === layers) recall.value = [...measured]
    }
  }

  async #working(job: () => Promise<void>): Promise<void> {
    try {
      await job()
    } catch (error) {
      this.#state.status.value = { kind: 'failed', text: error instanceof Error ? error.message : String(error) }
    }
  }

  /** Says in the status what a call reports. */
  #reported<Result>(call: (report: (progress: Progress) => void) => Promise<Result>): Promise<Result> {
    const show = (progress: Progress) => {
      this.#state.status.value = statusOf(progress)
    }
    return whileRunning(show, (report) => call(proxy(report)))
  }
}

function statusOf({ stage, done, total }: Progress): Status {
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1)
  const share = total > 0 ? done / total : undefined
  switch (stage) {
    case 'model':
      return { kind: 'working', share, text: `Loading the model: ${megabytes(done)}${total ? ` of ${megabytes(total)}` : ''} MB` }
    case 'device':
      return { kind: 'working', text: 'Preparing the device' }
    case 'tokens':
      return { kind: 'working', text: 'Splitting the text into tokens' }
    case 'layers':
      return { kind: 'working', share, text: `Reading: layer ${Math.min(done + 1, total)} of ${total}` }
  }
}

/** The last token that is a word of some length, which says more than a comma. */
function lastWord(texts: readonly string[]): number {
  return Math.max(
    0,
    texts.findLastIndex((text) => /\p{L}{5}/u.test(text)),
  )
}
