import type { AttentionBackend, AttentionSpec, Layout, Tensor, TokenWeights } from '@phsa/core'
import type { QueueTimer } from '@phsa/kernels-cuda'
import type { Timing } from './device-result.js'
import type { Phase } from './phase-work.js'

/** One set of inputs on the GPU. */
export interface DeviceInputs {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  readonly dOut: Tensor
  readonly weights: TokenWeights
  readonly layout: Layout
}

/** Runs before those that count. */
export const WARM_UP = 3
/** Fewer of what takes longer than this. */
const SLOW_MILLISECONDS = 250
const RUNS = { usual: 10, slow: 3 } as const

/**
 * Times the phases alone, and the forward pass as one, by marks in the GPU's queue. All runs are queued before the first is waited for, so
 * the host's part shows only where it takes longer than the GPU's.
 */
export function timeAttention(
  backend: AttentionBackend,
  timer: QueueTimer,
  sets: readonly DeviceInputs[],
  spec: AttentionSpec,
  backward: boolean,
): Partial<Record<Phase | 'forward', Timing>> {
  const phases: readonly Phase[] = [
    ...(spec.topK === 0 ? [] : (['pool', 'select'] as const)),
    'attend',
    ...(backward ? (['backward'] as const) : []),
  ]
  const once = (index: number, mark: (phase: Phase) => void) => runPhases(backend, sets[index % sets.length], spec, backward, mark)
  timer.mark()
  once(0, () => undefined)
  timer.mark()
  const [first] = timer.read()
  const runs = first > SLOW_MILLISECONDS ? RUNS.slow : RUNS.usual
  const timed = (marked: readonly Phase[]) => {
    // As many marks after each run as phases are told apart, and one before it.
    for (let index = 0; index < WARM_UP - 1; index++) once(index, () => undefined)
    for (let index = 0; index < runs; index++) {
      timer.mark()
      once(index, (phase) => {
        if (marked.includes(phase)) timer.mark()
      })
    }
    const times = timer.read()
    // Between two runs lies one interval that belongs to neither.
    return marked.map((_, place) => timing(Array.from({ length: runs }, (_, run) => times[run * (marked.length + 1) + place])))
  }
  const [forward] = timed(backward ? ['attend', 'backward'] : ['attend'])
  const alone = timed(phases)
  return { forward, ...Object.fromEntries(phases.map((phase, index) => [phase, alone[index]])) }
}

function runPhases(
  { attention, memory }: AttentionBackend,
  { q, k, v, dOut, weights, layout }: DeviceInputs,
  spec: AttentionSpec,
  backward: boolean,
  mark: (phase: Phase) => void,
): void {
  memory.scope(() => {
    const selected = memory.scope(() => {
      if (spec.topK === 0) return memory.alloc([spec.kvHeads, layout.queryTokens, 0], 'i32')
      const reps = attention.poolBlocks({ k, weights, layout, spec })
      mark('pool')
      const chosen = attention.selectBlocks({ q, reps, layout, spec })
      mark('select')
      return chosen
    })
    const made = attention.attend({ q, k, v, selected, layout, spec })
    mark('attend')
    if (!backward) return
    attention.attendBackward({ q, k, v, selected, layout, spec, dOut, ...made })
    mark('backward')
  })
}

/** Sums up samples in milliseconds, at least one. */
export function timing(samples: readonly number[]): Timing {
  const milliseconds = median(samples)
  return { milliseconds, deviation: median(samples.map((sample) => Math.abs(sample - milliseconds))), samples }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right)
  const half = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}
