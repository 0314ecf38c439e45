import type { TokenLogprob } from './engine-client.js'

/**
 * Log-probability of a token and of the likeliest ones, equal ones by rising id.
 * @param logits [V], as the model gave them
 * @param top how many of the likeliest
 */
export function tokenLogprob(logits: ArrayLike<number>, id: number, top: number): TokenLogprob {
  let largest = Number.NEGATIVE_INFINITY
  for (let index = 0; index < logits.length; index++) largest = Math.max(largest, logits[index])
  let sum = 0
  for (let index = 0; index < logits.length; index++) sum += Math.exp(logits[index] - largest)
  const total = largest + Math.log(sum)
  return { logprob: logits[id] - total, top: likeliest(logits, top).map((other) => [other, logits[other] - total] as const) }
}

/** Ids of the largest logits, falling. */
function likeliest(logits: ArrayLike<number>, count: number): number[] {
  const ids: number[] = []
  for (let id = 0; id < logits.length; id++) {
    if (ids.length === count && !(count > 0 && logits[id] > logits[ids[count - 1]])) continue
    let place = ids.length
    while (place > 0 && logits[id] > logits[ids[place - 1]]) place--
    ids.splice(place, 0, id)
    if (ids.length > count) ids.pop()
  }
  return ids
}
