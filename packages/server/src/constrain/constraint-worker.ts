import { parentPort, workerData } from 'node:worker_threads'
import type { GrammarMatcher } from '@mlc-ai/web-xgrammar'
import { TextTokenizer } from '@phsa/model'
import { errorMessage } from '../port/error-message.js'
import type { ConstraintAnswer, ConstraintCall, ConstraintWorkerData } from './constraint-messages.js'
import { GrammarBank } from './grammar-bank.js'
import { grammarVocabulary } from './grammar-vocabulary.js'
import { loadXGrammar } from './load-xgrammar.js'

// The thread of grammars: compiles them and follows constrained texts, beside the thread in which the model computes. `WorkerConstraints` starts it.

const { tokenizerFolder, vocabSize } = workerData as ConstraintWorkerData
const matchers = new Map<number, GrammarMatcher>()
let bank: Promise<GrammarBank> | undefined

async function createBank(): Promise<GrammarBank> {
  const { json } = await TextTokenizer.fromFolder(tokenizerFolder)
  return GrammarBank.create(await loadXGrammar(), grammarVocabulary(json), vocabSize)
}

async function tellAllowed(text: number, matcher: GrammarMatcher): Promise<void> {
  const answer: ConstraintAnswer = { text, allowed: await matcher.getNextTokenBitmask() }
  parentPort!.postMessage(answer, [answer.allowed.buffer as ArrayBuffer])
}

async function obey(call: ConstraintCall): Promise<void> {
  if (call.type === 'open') {
    bank ??= createBank()
    const matcher = await (await bank).matcher(call.grammar, call.stopTokenIds)
    matchers.set(call.text, matcher)
    await tellAllowed(call.text, matcher)
    return
  }
  const matcher = matchers.get(call.text)
  if (!matcher) return
  if (call.type === 'close') {
    matchers.delete(call.text)
    matcher.dispose()
  } else if (matcher.acceptToken(call.id)) await tellAllowed(call.text, matcher)
  else throw new Error(`the token ${call.id} does not continue the constrained text; this is a mistake of the server.`)
}

// One after the other: a text that is closed while its grammar compiles is open by then.
let last = Promise.resolve()
parentPort!.on('message', (call: ConstraintCall) => {
  last = last
    .then(() => obey(call))
    .catch((error: unknown) => {
      const answer: ConstraintAnswer = { text: call.text, error: errorMessage(error) }
      parentPort!.postMessage(answer)
    })
})
