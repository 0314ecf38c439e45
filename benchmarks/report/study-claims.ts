import type { Estimate } from '../../packages/trainer/src/evaluation/cluster-estimate.js'
import { type Budget, overSeeds, retrievalOf, type SeedResults, type StudyResults, selectionLine } from './study-results.js'

/** A model and how it attends. */
export interface Side {
  readonly branch: string
  readonly budget: Budget
}

/** Something that is said of two recipes. */
export interface Claim {
  readonly text: string
  readonly measure: 'retrieval' | 'perplexity'
  /** What is larger by the difference, and what it is compared with. */
  readonly left: Side
  readonly right: Side
  /** The difference in each seed of the prototype; absent where it measured none. */
  readonly prototype?: readonly number[]
}

/** A claim beside what was measured. */
export interface ClaimResult {
  readonly claim: Claim
  /** In each seed that has both. */
  readonly differences: readonly number[]
  readonly estimate: Estimate
  /**
   * Whether the 95 % interval over seeds lies on the prototype's side of zero (`replicates`), on the other (`contradicts`), or holds zero (`open`). Where the
   * prototype measured nothing, or its seeds lie on no one side: above or below zero.
   */
  readonly verdict: 'replicates' | 'contradicts' | 'open' | 'above' | 'below'
}

const at = (branch: string, policy: string, topK = 2): Side => ({ branch, budget: { policy, topK } })
const DENSE_MODEL: Side = { branch: 'dense', budget: { policy: 'dense', topK: 'dense' } }

/** What the prototype said, with its figures, and what this study asks besides. */
export const CLAIMS: readonly Claim[] = [
  retrieval('dense-trained, topK 2: mean-pool over PHSA', at('dense', 'mean-pool'), at('dense', 'phsa'), [34, 26]),
  retrieval('dense-trained, topK 2: InfLLM v2 over PHSA', at('dense', 'infllm-v2'), at('dense', 'phsa'), [0, 6]),
  retrieval('dense-trained, topK 16: mean-pool over PHSA', at('dense', 'mean-pool', 16), at('dense', 'phsa', 16), [42, 26]),
  retrieval('trained sparsely: mean-pool over PHSA', at('mean-pool', 'mean-pool'), at('phsa', 'phsa'), [6, 22]),
  retrieval('PHSA: trained sparsely over dense-trained', at('phsa', 'phsa'), at('dense', 'phsa'), [-3, -5]),
  retrieval('mean-pool: trained sparsely over dense-trained', at('mean-pool', 'mean-pool'), at('dense', 'mean-pool'), [-31, -9]),
  retrieval('PHSA: distilled over not', at('phsa-distilled', 'phsa'), at('phsa', 'phsa'), [42, 11]),
  retrieval('mean-pool: distilled over not', at('mean-pool-distilled', 'mean-pool'), at('mean-pool', 'mean-pool'), [58, 13]),
  retrieval('distilled: mean-pool over PHSA', at('mean-pool-distilled', 'mean-pool'), at('phsa-distilled', 'phsa'), [22, 24]),
  retrieval('PHSA distilled: two sub-blocks over one', at('phsa-two-sub-blocks', 'phsa'), at('phsa-distilled', 'phsa'), [10, 4]),
  perplexity('PHSA distilled over dense', at('phsa-distilled', 'phsa'), DENSE_MODEL, [-2, -2.6]),
  perplexity('PHSA, not distilled, over dense', at('phsa', 'phsa'), DENSE_MODEL, [0, 0.4]),
  retrieval('InfLLM v2: distilled over not', at('infllm-v2-distilled', 'infllm-v2'), at('infllm-v2', 'infllm-v2')),
  retrieval('distilled: InfLLM v2 over PHSA', at('infllm-v2-distilled', 'infllm-v2'), at('phsa-distilled', 'phsa')),
  retrieval('PHSA distilled: learned lambda over 0.5', at('phsa-learned-lambda', 'phsa'), at('phsa-distilled', 'phsa')),
  retrieval('PHSA distilled: calibrated lambda over 0.5', at('phsa-calibrated-lambda', 'phsa'), at('phsa-distilled', 'phsa')),
  retrieval('PHSA distilled: topK from 16 to 2 over 2', at('phsa-16-to-2', 'phsa'), at('phsa-distilled', 'phsa')),
  retrieval('PHSA distilled: all of it, with 64 rows, over none of it', at('phsa-combined', 'phsa'), at('phsa-distilled', 'phsa')),
]

/** Each claim that at least one seed has both models of. */
export function claimResults({ seeds }: StudyResults, claims: readonly Claim[] = CLAIMS): ClaimResult[] {
  return claims.flatMap((claim): ClaimResult[] => {
    const differences = seeds.flatMap((seed) => {
      const [left, right] = [measured(seed, claim.left, claim), measured(seed, claim.right, claim)]
      return left === undefined || right === undefined ? [] : [left - right]
    })
    if (differences.length === 0) return []
    const estimate = overSeeds(differences)
    return [{ claim, differences, estimate, verdict: verdictOf(claim, estimate) }]
  })
}

function retrieval(text: string, left: Side, right: Side, prototype?: readonly number[]): Claim {
  return { text, measure: 'retrieval', left, right, ...(prototype && { prototype }) }
}

function perplexity(text: string, left: Side, right: Side, prototype: readonly number[]): Claim {
  return { text, measure: 'perplexity', left, right, prototype }
}

function measured({ branches }: SeedResults, { branch, budget }: Side, { measure }: Claim): number | undefined {
  const result = branches.get(branch)
  return result && (measure === 'retrieval' ? retrievalOf(result, budget) : selectionLine(result, budget).perplexity)
}

function verdictOf({ prototype }: Claim, { interval }: Estimate): ClaimResult['verdict'] {
  if (!interval || (interval[0] <= 0 && interval[1] >= 0)) return 'open'
  const isAbove = interval[0] > 0
  if (prototype?.every((value) => value > 0)) return isAbove ? 'replicates' : 'contradicts'
  if (prototype?.every((value) => value < 0)) return isAbove ? 'contradicts' : 'replicates'
  return isAbove ? 'above' : 'below'
}
