import { PunctuationTable } from '@phsa/core'
import { TextTokenizer } from '@phsa/model'
import { TextDataset } from '@phsa/trainer'
import { bundledTokenizerFolder } from '../demo/bundled-assets.js'
import { heldOutNovel } from '../demo/held-out-novel.js'
import { type AttentionShape, attentionBench } from './attention-case.js'
import type { BenchCase, BenchGroup } from './bench-case.js'
import { BENCH_MODEL } from './bench-model.js'
import { type GenerationShape, generateCase } from './generate-case.js'
import { matmulCase } from './matmul-case.js'
import { type StepData, stepCase } from './step-case.js'

/** Sizes of everything that is measured. */
export interface BenchSizes {
  /** Rows and columns of the matrices. */
  readonly matmul: number
  readonly attention: AttentionShape
  /** Blocks a query of the sparse attention. */
  readonly topKs: readonly number[]
  readonly generation: GenerationShape
}

/** Characters of the novel that the steps train on: more than they can use. */
const STEP_TEXT = 200_000

/** Every case of the chosen groups, in the order of the groups. */
export function benchCases(groups: readonly BenchGroup[], { matmul, attention, topKs, generation }: BenchSizes): BenchCase[] {
  const load = loadOnce()
  const cases = [
    matmulCase(matmul),
    ...topKs.map((topK) => attentionBench(attention, topK)),
    attentionBench(attention, 'dense'),
    stepCase(BENCH_MODEL, 'dense', load),
    stepCase(BENCH_MODEL, 'sparse', load),
    generateCase(BENCH_MODEL, 'dense', generation),
    generateCase(BENCH_MODEL, 'sparse', generation),
  ]
  return cases.filter(({ group }) => groups.includes(group))
}

/** The text is tokenized when the first case asks for it, and once for all backends. */
function loadOnce(): () => Promise<StepData> {
  let loaded: Promise<StepData> | undefined
  const load = async (): Promise<StepData> => {
    const tokenizer = await TextTokenizer.fromFolder(bundledTokenizerFolder())
    const data = await TextDataset.fromText(heldOutNovel().slice(0, STEP_TEXT), tokenizer)
    return { data, punctuation: PunctuationTable.fromTokenizer(tokenizer.json) }
  }
  return () => {
    loaded ??= load()
    return loaded
  }
}
