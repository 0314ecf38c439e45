// Which tokens count as punctuation is a choice: the built-in sets, or characters of one's own.
//
//   npx tsx examples/custom-punctuation.ts
import { readFileSync } from 'node:fs'
import { PackedLayout, type PunctuationSet, PunctuationTable, poolingWeights } from '@phsa/core'
import { TextTokenizer } from '@phsa/model'

const SENTENCES = 'Ada wrote: "It counts — and it does not tire." Nobody asked why; nobody had time! (We did.)\n'
const json: unknown = JSON.parse(readFileSync(new URL('../fixtures/tokenizer-8k/tokenizer.json', import.meta.url), 'utf8'))
const tokenizer = TextTokenizer.fromJson(json)
const ids = tokenizer.encode(SENTENCES)

// For source code, say, the ends of statements and blocks.
const sets: Record<string, PunctuationSet> = { en: 'en', clause: 'clause', unicode: 'unicode', code: { custom: '(){}[];' } }
for (const [name, set] of Object.entries(sets)) {
  const table = PunctuationTable.fromTokenizer(json, { set })
  const marks = table.marks(ids)
  const found = Array.from(
    ids.filter((_, token) => marks[token]),
    (id) => tokenizer.decode([id]).trim(),
  )
  console.log(`${name}: ${table.count} of ${table.size} tokens are punctuation; here ${found.join(' ')}`)

  // Its weight is what a mark has over the other tokens of its block: with lambda 0.5, half of a block's weight is for its marks alone.
  const weights = poolingWeights(marks, new PackedLayout([ids.length], 16), 0.5)
  const share = weights.slice(0, 16).reduce((sum, weight, token) => sum + (marks[token] ? weight : 0), 0)
  console.log(`  they hold ${(100 * share).toFixed(0)} % of the first block's representative`)
}
