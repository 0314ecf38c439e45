import type { CompiledGrammar, GrammarCompiler, GrammarMatcher, TokenizerInfo } from '@mlc-ai/web-xgrammar'
import { InvalidInputError } from '@phsa/model'
import type { GrammarVocabulary } from './grammar-vocabulary.js'
import type { XGrammar } from './load-xgrammar.js'

/** Compiled grammars that are kept for the next request, the longest unused going first. */
const KEPT_GRAMMARS = 32

/** Compiles grammars for one vocabulary, and follows texts in them. */
export class GrammarBank {
  readonly #library: XGrammar
  readonly #info: TokenizerInfo
  readonly #compiler: GrammarCompiler
  readonly #compiled = new Map<string, CompiledGrammar>()

  private constructor(library: XGrammar, info: TokenizerInfo, compiler: GrammarCompiler) {
    this.#library = library
    this.#info = info
    this.#compiler = compiler
  }

  /** @param vocabSize bits of a mask; ids beyond the vocabulary are never allowed */
  static async create(library: XGrammar, { tokens, type }: GrammarVocabulary, vocabSize: number): Promise<GrammarBank> {
    const padded = Array.from({ length: vocabSize }, (_, id) => tokens[id] ?? '')
    // No ids end a text by themselves: each text names its own.
    const info = await library.TokenizerInfo.createTokenizerInfo(padded, type, false, vocabSize, [])
    return new GrammarBank(library, info, await library.GrammarCompiler.createGrammarCompiler(info, false))
  }

  /** @throws InvalidInputError for what is no grammar */
  async matcher(grammar: string, stopTokenIds: readonly number[]): Promise<GrammarMatcher> {
    const compiled = this.#compiled.get(grammar) ?? (await this.#compile(grammar))
    this.#compiled.delete(grammar)
    this.#compiled.set(grammar, compiled)
    for (const [oldest, value] of this.#compiled) {
      if (this.#compiled.size <= KEPT_GRAMMARS) break
      this.#compiled.delete(oldest)
      // Matchers that still follow it share what they need.
      value.dispose()
    }
    return this.#library.GrammarMatcher.createGrammarMatcher(compiled, [...stopTokenIds])
  }

  dispose(): void {
    for (const compiled of this.#compiled.values()) compiled.dispose()
    this.#compiled.clear()
    this.#compiler.dispose()
    this.#info.dispose()
  }

  async #compile(grammar: string): Promise<CompiledGrammar> {
    try {
      return await this.#compiler.compileGrammar(grammar)
    } catch (cause) {
      throw new InvalidInputError('the grammar of the response_format could not be compiled; give a simpler schema.', { cause })
    }
  }
}
