import { checkSample, type ModelOps } from '@phsa/core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'

/** Draws a token a row, on the host. */
export function sampleOps(memory: TfjsMemory): Pick<ModelOps, 'sample'> {
  return {
    sample(logits, control) {
      memory.checkOpen()
      checkSample(memory.owner, logits, control)
      const [rows, vocabulary] = logits.shape
      return memory.run(() => {
        const values = memory.host(logits)
        const controls = memory.host(control)
        const drawn = Int32Array.from({ length: rows }, (_, row) => {
          return sampleToken(values.subarray(row * vocabulary, (row + 1) * vocabulary), controls.subarray(row * 5, row * 5 + 5))
        })
        return memory.fromIntegers(drawn, [rows])
      })
    },
  }
}

/** One row: logits [V]; control is temperature, topK, topP, minP and a uniform number. A NaN counts as impossible. */
function sampleToken(logits: Float32Array, [temperature, topK, topP, minP, uniform]: Float32Array): number {
  const likeliest = argMax(logits)
  if (temperature <= 0) return likeliest
  const highest = logits[likeliest]
  const masses = Float64Array.from(logits, (logit) => (Number.isNaN(logit) ? 0 : Math.exp((logit - highest) / temperature)))
  const order = Uint32Array.from(logits, (_, id) => id).sort((a, b) => masses[b] - masses[a] || a - b)
  const kept = keptCount(masses, order, topK, topP, minP)
  const keptMass = massOf(masses, order, kept)
  let running = 0
  for (let index = 0; index < kept; index++) {
    running += masses[order[index]]
    if (running / keptMass > uniform) return order[index]
  }
  return order[kept - 1]
}

/** How many of the ordered tokens stay: the topK first ones, of these the shortest run that reaches topP, of these those of minP times the first. */
function keptCount(masses: Float64Array, order: Uint32Array, topK: number, topP: number, minP: number): number {
  let kept = topK > 0 ? Math.min(topK, order.length) : order.length
  if (topP < 1) {
    const wanted = topP * massOf(masses, order, kept)
    let running = 0
    for (let index = 0; index < kept; index++) {
      running += masses[order[index]]
      if (running >= wanted) kept = index + 1
    }
  }
  while (kept > 1 && masses[order[kept - 1]] < minP * masses[order[0]]) kept--
  return kept
}

function massOf(masses: Float64Array, order: Uint32Array, count: number): number {
  let mass = 0
  for (let index = 0; index < count; index++) mass += masses[order[index]]
  return mass
}

/** The lowest index of the largest value. */
function argMax(values: Float32Array): number {
  let best = 0
  for (let index = 1; index < values.length; index++) if (values[index] > values[best] || Number.isNaN(values[best])) best = index
  return best
}
