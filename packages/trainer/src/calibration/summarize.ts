import { type Cluster, clusterEstimate, type Estimate } from '../evaluation/cluster-estimate.js'
import type { CalibrationPlan } from './calibration-options.js'
import type { Calibration, HeadCalibration, HeldOutRecall, PunctuationVerdict, SettingCalibration } from './calibration-result.js'
import { chooseLambda, type LambdaSamples, pairedClusters } from './choose-lambda.js'
import type { WindowMeasurement } from './measure-layer.js'

/** One KV head of a layer that chooses blocks. */
interface Place {
  readonly layer: number
  readonly head: number
}

/** Chooses on the first windows and measures on the others. @param choosing at least one, and as many layers in each as in `heldOut` */
export function summarize(
  choosing: readonly WindowMeasurement[],
  heldOut: readonly WindowMeasurement[],
  plan: CalibrationPlan,
): Calibration {
  const places = choosing[0].layers.flatMap((layer, index) => layer?.oracle.map((_, head): Place => ({ layer: index, head })) ?? [])
  const choices = plan.settings.map((_, setting) =>
    places.map((place) => chooseLambda(samplesOf(choosing, setting, place), plan.lambdas.length)),
  )
  const measured = plan.settings.map((_, setting) => places.map((place) => samplesOf(heldOut, setting, place)))
  const chosen = choices[0].map(({ candidate }) => candidate)
  const heads = places.map((place, index): HeadCalibration => {
    const before = plan.before[place.layer][place.head]
    const recalls = meanRecalls(measured[0][index])
    const far = [...choosing, ...heldOut].map(({ layers }) => layers[place.layer]!.far[place.head])
    return {
      lambda: plan.lambdas[chosen[index]] ?? before,
      before,
      choosingGain: choices[0][index].gain,
      recalls: recalls.slice(0, plan.lambdas.length),
      recall: recalls[chosen[index]],
      strongestIsPunctuation: total(far, ({ strongest }) => strongest) / total(far, ({ queries }) => queries),
    }
  })
  const settings = plan.settings.map((setting, index): SettingCalibration => {
    const candidates = choices[index].map(({ candidate }) => candidate)
    return {
      ...setting,
      recalls: plan.lambdas.map((_, lambda) => meanOf(measured[index], () => lambda)),
      calibrated: meanOf(measured[index], (place) => candidates[place]),
    }
  })
  const far = [...choosing, ...heldOut].flatMap(({ layers }) => layers.flatMap((layer) => layer?.far ?? []))
  const recall = heldOutRecall(heldOut, measured[0], chosen, plan)
  const headsOf = (layer: number) => heads.filter((_, index) => places[index].layer === layer)
  return {
    lambda: plan.before.map((row, layer) => (headsOf(layer).length > 0 ? headsOf(layer).map(({ lambda }) => lambda) : row)),
    verdict: verdictOf(recall.gainOverOne),
    topK: plan.phsa.topK,
    past: plan.past,
    windows: [choosing.length, heldOut.length],
    queries: [total(choosing, ({ queries }) => queries), total(heldOut, ({ queries }) => queries)],
    lambdas: plan.lambdas,
    heldOut: recall,
    punctuation: {
      strongest: total(far, ({ strongest }) => strongest) / total(far, ({ queries }) => queries),
      farKeys: total(far, ({ farMarks }) => farMarks) / total(far, ({ farKeys }) => farKeys),
    },
    layers: plan.before.map((_, layer) => (headsOf(layer).length > 0 ? headsOf(layer) : null)),
    settings,
  }
}

function samplesOf(windows: readonly WindowMeasurement[], setting: number, { layer, head }: Place): LambdaSamples {
  return {
    sums: windows.map(({ layers }) => layers[layer]!.recalls[setting][head]),
    counts: windows.map(({ queries }) => queries),
  }
}

function heldOutRecall(
  windows: readonly WindowMeasurement[],
  places: readonly LambdaSamples[],
  chosen: readonly number[],
  { lambdas }: CalibrationPlan,
): HeldOutRecall {
  const [one, half, before] = [lambdas.indexOf(1), lambdas.indexOf(0.5), lambdas.length]
  const gainOver = (other: number): Estimate => {
    // Heads see the same text: their differences are added up within a window before windows are compared.
    const clusters = windows.map((_, window): Cluster => {
      const parts = places.map((samples, place) => pairedClusters(samples, chosen[place], other)[window])
      return { sum: total(parts, ({ sum }) => sum), count: total(parts, ({ count }) => count) }
    })
    return clusterEstimate(clusters)
  }
  const oracle = windows.flatMap(({ layers }) => layers.flatMap((layer) => layer?.oracle ?? []))
  return {
    calibrated: meanOf(places, (place) => chosen[place]),
    before: meanOf(places, () => before),
    one: meanOf(places, () => one),
    half: meanOf(places, () => half),
    oracle: total(oracle, (sum) => sum) / total(places, ({ counts }) => total(counts, (count) => count)),
    gainOverBefore: gainOver(before),
    gainOverOne: gainOver(one),
    gainOverHalf: gainOver(half),
  }
}

/** Mean recall over all heads and queries. @param candidateOf index of the candidate that a head takes */
function meanOf(places: readonly LambdaSamples[], candidateOf: (place: number) => number): number {
  const sums = places.map(({ sums }, place) => total(sums, (window) => window[candidateOf(place)]))
  return total(sums, (sum) => sum) / total(places, ({ counts }) => total(counts, (count) => count))
}

/** Mean recall of each candidate of one head. */
function meanRecalls({ sums, counts }: LambdaSamples): number[] {
  const queries = total(counts, (count) => count)
  return sums[0].map((_, candidate) => total(sums, (window) => window[candidate]) / queries)
}

function verdictOf({ interval }: Estimate): PunctuationVerdict {
  if (!interval) return 'as-good'
  return interval[0] > 0 ? 'helps' : interval[1] < 0 ? 'hurts' : 'as-good'
}

function total<T>(values: readonly T[], of: (value: T) => number): number {
  return values.reduce((sum, value) => sum + of(value), 0)
}
