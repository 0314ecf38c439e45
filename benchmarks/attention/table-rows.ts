import { type AttentionSpec, attentionSpec, PHSA_32K, phsaConfig, type ScoreKind } from '@phsa/core'
import type { DataKind } from './attention-data.js'

/** What a row is for, as `--only` names it: the table of issue-sized shapes, or one of the curves. */
export const ROW_GROUPS = ['table', 'length', 'top-k'] as const
export type RowGroup = (typeof ROW_GROUPS)[number]

/** Inputs of one kind and the specs that are measured on them, so that data is made once. */
export interface PlannedProblem {
  readonly group: RowGroup
  readonly length: number
  readonly data: DataKind
  /** They share heads and block size. */
  readonly specs: readonly AttentionSpec[]
  readonly backward: boolean
}

interface Heads {
  readonly heads: number
  readonly kvHeads: number
}

const SMALL_MODEL: Heads = { heads: 16, kvHeads: 8 }
const LARGE_MODEL: Heads = { heads: 32, kvHeads: 8 }
const SCORES: readonly ScoreKind[] = ['softmax', 'logit']

/**
 * Everything that is measured of these groups, the most important first: a run that ends early has lost the end. A curve's shorter sequences are
 * the beginnings of its longest one, so within the two parts of the length curve the longest comes first. Places of a curve that the table has are
 * measured again only where the table is not: a curve is of one run.
 */
export function plannedProblems(groups: readonly RowGroup[] = ROW_GROUPS): PlannedProblem[] {
  const hasTable = groups.includes('table')
  const isInTable = (length: number) => length === 32768 || length === 131072
  const lengths = (all: readonly number[]) => lengthProblems(all.filter((length) => !(hasTable && isInTable(length))))
  const planned = [
    ...tableProblems(),
    ...lengths([131072, 65536, 32768, 16384, 8192, 4096]),
    topKProblem(hasTable ? [0, 1, 2, 4, 8, 32, 64] : [0, 1, 2, 4, 8, 16, 32, 64]),
    ...lengths([1048576, 524288, 262144]),
  ]
  return planned.filter(({ group }) => groups.includes(group))
}

/** The same kinds of rows on short sequences, to see that everything works. */
export function smallProblems(groups: readonly RowGroup[] = ROW_GROUPS): PlannedProblem[] {
  const planned = [
    problem('table', 1100, 'A', specs(SMALL_MODEL, { topK: 4 }, SCORES)),
    problem('table', 1100, 'B', specs(SMALL_MODEL, { topK: 4 }, ['softmax'])),
    problem('table', 1300, 'A', specs({ heads: 32, kvHeads: 2 }, { ...WIDE, topK: 8 }, ['logit'])),
    { ...problem('top-k', 900, 'A', specs(SMALL_MODEL, { topK: 0 }, ['softmax'])), backward: false },
    { ...problem('length', 700, 'A', specs(SMALL_MODEL, { topK: 16 }, ['softmax'])), backward: false },
  ]
  return planned.filter(({ group }) => groups.includes(group))
}

/** Windows with which 64 blocks of 64 are visible: 1 first, 8 local and 55 chosen ones. */
const WIDE = { blockSize: 64, initTokens: 64, localTokens: 512, topK: 55 }

function tableProblems(): PlannedProblem[] {
  const each = (kinds: readonly DataKind[], length: number, of: readonly AttentionSpec[]) =>
    kinds.map((data) => problem('table', length, data, of))
  const all = ['A', 'B', 'S'] as const
  return [
    ...each(all, 32768, specs(SMALL_MODEL, {}, SCORES)),
    ...each(all, 131072, specs(SMALL_MODEL, {}, SCORES)),
    ...each(all, 32768, specs(LARGE_MODEL, {}, ['logit'])),
    ...each(all, 32768, specs({ heads: 32, kvHeads: 2 }, WIDE, SCORES)),
    ...each(['A', 'B'], 8192, specs(SMALL_MODEL, { topK: 2 }, SCORES)),
    ...each(all, 131072, specs(LARGE_MODEL, {}, ['logit'])),
  ]
}

function topKProblem(topKs: readonly number[]): PlannedProblem {
  const of = topKs.flatMap((topK) => specs(SMALL_MODEL, { topK }, topK === 0 ? ['softmax'] : SCORES))
  return { ...problem('top-k', 32768, 'A', of), backward: false }
}

function lengthProblems(lengths: readonly number[]): PlannedProblem[] {
  return lengths.map((length) => ({ ...problem('length', length, 'A', specs(SMALL_MODEL, {}, SCORES)), backward: false }))
}

function problem(group: RowGroup, length: number, data: DataKind, of: readonly AttentionSpec[]): PlannedProblem {
  // Set B's bars are for the forward pass; its long backward passes would only cost time.
  return { group, length, data, specs: of, backward: data !== 'B' || length <= 32768 }
}

function specs(heads: Heads, settings: Parameters<typeof phsaConfig>[0], scores: readonly ScoreKind[]): AttentionSpec[] {
  return scores.map((score) =>
    attentionSpec(phsaConfig({ topK: 16, ...settings, score }, PHSA_32K), { ...heads, headDim: 128, dtype: 'bf16' }),
  )
}
