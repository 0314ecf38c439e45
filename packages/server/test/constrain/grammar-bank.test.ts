import { expect, test } from 'vitest'
import { GrammarBank } from '../../src/constrain/grammar-bank.js'
import type { XGrammar } from '../../src/constrain/load-xgrammar.js'

test('32 compiled grammars are kept, the longest unused going first', async () => {
  const compiled: string[] = []
  const disposed: string[] = []
  const compileGrammar = async (grammar: string) => {
    compiled.push(grammar)
    return { dispose: () => disposed.push(grammar) }
  }
  const library = {
    TokenizerInfo: { createTokenizerInfo: async () => ({}) },
    GrammarCompiler: { createGrammarCompiler: async () => ({ compileGrammar }) },
    GrammarMatcher: { createGrammarMatcher: async () => ({}) },
  } as unknown as XGrammar
  const bank = await GrammarBank.create(library, { tokens: [], type: 'byte_level' }, 8)
  const names = Array.from({ length: 33 }, (_, index) => `grammar ${index}`)
  for (const name of names.slice(0, 32)) await bank.matcher(name, [0])
  await bank.matcher(names[0], [0])
  await bank.matcher(names[32], [0])
  expect([compiled, disposed]).toEqual([names, [names[1]]])
  await bank.matcher(names[0], [0])
  await bank.matcher(names[1], [0])
  expect([compiled.slice(33), disposed]).toEqual([[names[1]], [names[1], names[2]]])
})
