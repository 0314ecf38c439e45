import { setImmediate as eventLoopTurn } from 'node:timers/promises'
import { GrammarBank } from '../../src/constrain/grammar-bank.js'
import { grammarVocabulary } from '../../src/constrain/grammar-vocabulary.js'
import { loadXGrammar } from '../../src/constrain/load-xgrammar.js'
import type { TextConstraint, TextConstraints } from '../../src/constrain/text-constraint.js'

/** Constraints without a thread: a worker cannot run sources here. What may come next is known some turns late, as from a thread. */
export class LocalConstraints implements TextConstraints {
  readonly #bank: GrammarBank
  /** Texts that were not disposed. */
  openTexts = 0
  /** Fails the texts that are open from now on. */
  fail: (reason: Error) => void = () => undefined
  readonly #failed = new Promise<Error>((resolve) => {
    this.fail = resolve
  })

  private constructor(bank: GrammarBank) {
    this.#bank = bank
  }

  static async create(tokenizerJson: unknown, vocabSize: number): Promise<LocalConstraints> {
    return new LocalConstraints(await GrammarBank.create(await loadXGrammar(), grammarVocabulary(tokenizerJson), vocabSize))
  }

  async open(grammar: string, stopTokenIds: readonly number[]): Promise<TextConstraint> {
    const matcher = await this.#bank.matcher(grammar, stopTokenIds)
    let allowed: Int32Array | undefined = await matcher.getNextTokenBitmask()
    let isOpen = true
    let known = Promise.resolve()
    this.openTexts++
    const next = async (id: number) => {
      for (let turn = 0; turn < id % 4; turn++) await eventLoopTurn()
      if (!isOpen) return
      if (!matcher.acceptToken(id)) throw new Error(`${id} does not continue the text`)
      allowed = await matcher.getNextTokenBitmask()
    }
    return {
      get allowed() {
        return allowed
      },
      get known() {
        return known
      },
      failed: this.#failed,
      accept(id) {
        allowed = undefined
        known = next(id)
      },
      dispose: () => {
        if (!isOpen) return
        isOpen = false
        this.openTexts--
        matcher.dispose()
      },
    }
  }
}
