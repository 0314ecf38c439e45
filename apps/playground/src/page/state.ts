import { PHSA_4K } from '@phsa/core'
import { computed, type ReadonlySignal, type Signal, signal } from '@preact/signals-core'
import type {
  AttentionSettings,
  DocumentTokens,
  HeadLookBack,
  LabDescription,
  LookBackQuestion,
  Method,
  RecallPoint,
} from '../lab-contract.js'

/** What the page is busy with, in words. */
export interface Status {
  readonly kind: 'working' | 'ready' | 'failed'
  readonly text: string
  /** How much of it is done, 0 to 1, where that is known. */
  readonly share?: number
}

/** A text, and how much of it is to be read. */
export interface TextChoice {
  readonly text: string
  /** Default: what the device does in a few seconds. */
  readonly maxTokens?: number
}

/** An answer with its question: what is drawn belongs together while the next one is on its way. */
export interface Answer {
  readonly question: LookBackQuestion
  readonly heads: readonly HeadLookBack[]
}

/** Everything that the parts of the page show and change. */
export interface State {
  readonly status: Signal<Status>
  readonly lab: Signal<LabDescription | undefined>
  readonly choice: Signal<TextChoice | undefined>
  readonly document: Signal<DocumentTokens | undefined>
  readonly settings: Signal<AttentionSettings>
  readonly query: Signal<number>
  readonly layer: Signal<number>
  readonly head: Signal<number>
  /** The method whose choice the text shows. */
  readonly shown: Signal<Method>
  readonly answer: Signal<Answer | undefined>
  /** Of the chosen head. */
  readonly lookBack: ReadonlySignal<HeadLookBack | undefined>
  /** Points of each layer that was measured. */
  readonly recall: Signal<readonly (readonly RecallPoint[])[]>
}

/** The state of a page that has just opened. */
export function createState(): State {
  const answer = signal<Answer | undefined>(undefined)
  const head = signal(0)
  const { blockSize, initTokens, localTokens, topK } = PHSA_4K
  return {
    status: signal<Status>({ kind: 'working', text: 'Starting…' }),
    lab: signal<LabDescription | undefined>(undefined),
    choice: signal<TextChoice | undefined>(undefined),
    document: signal<DocumentTokens | undefined>(undefined),
    settings: signal<AttentionSettings>({ blockSize, initTokens, localTokens, topK, lambda: 0.5 }),
    query: signal(0),
    layer: signal(0),
    head,
    shown: signal<Method>('phsa'),
    answer,
    lookBack: computed(() => answer.value?.heads[head.value]),
    recall: signal<readonly (readonly RecallPoint[])[]>([]),
  }
}
