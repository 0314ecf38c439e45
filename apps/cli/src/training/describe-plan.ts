import { stringify } from 'yaml'
import { formatBytes, formatCount } from '../terminal/format.js'
import { memoryEstimate } from '../training-config/memory-estimate.js'
import type { TrainPlan } from '../training-config/train-plan.js'

/** What `--check` says of a run in numbers; plain JSON. */
export interface PlanFigures {
  readonly parameters: number
  readonly steps: number
  readonly tokensPerStep: number
  readonly tokens: number
  /** Of one epoch of each source; estimated where it is not tokenized yet. */
  readonly dataTokens: number
  /** Bytes, at least. */
  readonly memory: number
  readonly backend: string
}

/** The numbers of a run before it starts. */
export function planFigures(plan: TrainPlan, backend: string): PlanFigures {
  const { state, activations } = memoryEstimate(plan.config, plan.model)
  const { steps, tokensPerStep, sources } = plan
  const dataTokens = sources.reduce((sum, source) => sum + source.tokens, 0)
  return {
    parameters: plan.model.parameters,
    steps,
    tokensPerStep,
    tokens: steps * tokensPerStep,
    dataTokens,
    memory: state + activations,
    backend,
  }
}

/** A configuration as YAML that `phsa train` reads. */
export function configText(plan: TrainPlan): string {
  return stringify(plan.config, { lineWidth: 0 })
}

/** The same for people. */
export function describeFigures({ parameters, steps, tokensPerStep, tokens, dataTokens, memory, backend }: PlanFigures): string {
  return [
    `${formatCount(parameters)} parameters on ${backend}`,
    `${formatCount(steps)} steps of ${formatCount(tokensPerStep)} tokens, ${formatCount(tokens)} in all; the data has about ${formatCount(dataTokens)}`,
    `at least ${formatBytes(memory)} of device memory: weights, gradients, optimizer and activations; what kernels work with comes on top`,
  ].join('\n')
}
