/** The losses of a step as a run's log has them. */
export interface StepLosses {
  readonly step: number
  readonly loss: number
  readonly distillationLoss?: number
}

/** How far the losses of one run are from those of another. */
export interface LossDifference {
  /** Steps compared. */
  readonly steps: number
  /** Largest difference of the loss, and the step that has it. */
  readonly loss: { readonly most: number; readonly step: number }
  /** The same of the distillation loss; absent where no step distils. */
  readonly distillationLoss?: { readonly most: number; readonly step: number }
}

/**
 * Steps of a log.jsonl.
 * @param most steps from the first one that are wanted
 * @throws Error for a log that does not begin with step 1, leaves one out, has fewer, or a loss that is not finite
 */
export function parseLosses(text: string, most: number): StepLosses[] {
  const lines = text.trimEnd().split('\n').slice(0, most)
  return Array.from({ length: most }, (_, index) => {
    const { step, loss, distillationLoss } = lines[index] ? (JSON.parse(lines[index]) as Partial<StepLosses>) : {}
    if (step !== index + 1)
      throw new Error(`line ${index + 1} of ${most} is not step ${index + 1}: give the log of a run from its beginning`)
    if (typeof loss !== 'number') throw new Error(`the loss of step ${step} is not finite`)
    return { step, loss, ...(typeof distillationLoss === 'number' ? { distillationLoss } : {}) }
  })
}

/** @throws Error where one run distils in a step and the other does not */
export function lossDifference(run: readonly StepLosses[], reference: readonly StepLosses[]): LossDifference {
  const largest = (differences: readonly { most: number; step: number }[]) =>
    differences.reduce((most, next) => (next.most > most.most ? next : most))
  const distilled = run.flatMap(({ step, distillationLoss }, index) => {
    const other = reference[index].distillationLoss
    if ((distillationLoss === undefined) !== (other === undefined)) throw new Error(`only one of the two runs distils in step ${step}`)
    return distillationLoss === undefined || other === undefined ? [] : [{ step, most: Math.abs(distillationLoss - other) }]
  })
  return {
    steps: run.length,
    loss: largest(run.map(({ step, loss }, index) => ({ step, most: Math.abs(loss - reference[index].loss) }))),
    ...(distilled.length > 0 ? { distillationLoss: largest(distilled) } : {}),
  }
}
