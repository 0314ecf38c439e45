import type { Attention, Memory, ModelBackend, ModelOps, PagedAttention } from '@phsa/core'
import type { QueueTimer } from '@phsa/kernels-cuda'
import {
  ATTENTION_CLASSES,
  type CallClass,
  type CallClasses,
  MEMORY_CLASSES,
  opClasses,
  PAGED_CLASSES,
  type QueuedMemory,
  type QueuedPaged,
} from './call-classes.js'
import type { ClassTime } from './model-result.js'

/** A backend whose calls can be timed one by one. Disposing it does nothing. */
export interface TimedBackend {
  readonly backend: ModelBackend
  /** From here on a mark follows each call. Nothing may be recorded meanwhile. */
  begin(): void
  /** Waits for the last mark. @returns GPU time by class since `begin`; none without it */
  end(): Record<string, ClassTime>
  /** Milliseconds from the first call (or replay) since the last `takeHost` to the end of the last one; 0 where there was none. */
  takeHost(): number
  /** When the last call (or replay) ended, by `performance.now`; 0 before the first. */
  lastCall(): number
  /** Most bytes in tensors and caches after a call since the last `takePeak`. */
  takePeak(): number
  /** Runs calls whose paged attention computes nothing: it gives the queries back. Keys are cached as always, which fills a cache fast. */
  withoutPagedAttention<T>(run: () => T): T
}

/**
 * The same backend with marks around its calls, in one place for attention, ops and memory. The kernels are told by the call that queued them.
 * @param timer nobody else's between `begin` and `end`
 * @param isCapturing without it the backend does not record, so that every call is seen
 */
export function timedBackend(inner: ModelBackend, timer: QueueTimer, vocabSize: number, isCapturing: boolean): TimedBackend {
  let classes: CallClass[] | undefined
  let [first, last, peak] = [Number.NaN, 0, 0]
  let skipsPagedAttention = false

  const around = <T>(classOf: (result: T) => CallClass | undefined, call: () => T): T => {
    if (Number.isNaN(first)) first = performance.now()
    const result = call()
    last = performance.now()
    peak = Math.max(peak, inner.memory.usage().bytes)
    const called = classes && classOf(result)
    if (called) {
      classes?.push(called)
      timer.mark()
    }
    return result
  }
  const timedPaged = timedMethods<QueuedPaged>(inner.paged, PAGED_CLASSES, around)
  const memory: Memory = {
    ...timedMethods<QueuedMemory>(inner.memory, MEMORY_CLASSES, around),
    reshape: (tensor, shape) => inner.memory.reshape(tensor, shape),
    download: (tensor) => inner.memory.download(tensor),
    scope: (run) => inner.memory.scope(run),
    usage: () => inner.memory.usage(),
  }
  const paged: PagedAttention = {
    ...timedPaged,
    createCache: (options) => inner.paged.createCache(options),
    selectBlocks: (cache, q, batch) =>
      skipsPagedAttention
        ? memory.alloc([cache.options.spec.kvHeads, batch.queryTokens, batch.maxTopK], 'i32')
        : timedPaged.selectBlocks(cache, q, batch),
    attend: (cache, q, selected, batch) =>
      skipsPagedAttention
        ? { out: q, lse: memory.alloc([batch.queryTokens, cache.options.spec.heads], 'f32') }
        : timedPaged.attend(cache, q, selected, batch),
    step: (cache, tokens, batch) => (skipsPagedAttention ? undefined : timedPaged.step?.(cache, tokens, batch)),
  }
  const { contractVersion, name, device, limits, lost } = inner
  const backend: ModelBackend = {
    contractVersion,
    name,
    device,
    limits,
    memory,
    attention: timedMethods<Attention>(inner.attention, ATTENTION_CLASSES, around),
    paged,
    ops: timedMethods<ModelOps>(inner.ops, opClasses({ vocabSize }), around),
    lost,
    supports: (spec) => inner.supports(spec),
    prepare: (specs) => inner.prepare(specs),
    dispose: () => undefined,
    ...(isCapturing && inner.capture
      ? {
          capture: async <T>(step: () => T) => {
            const captured = await inner.capture!(step)
            return {
              result: captured.result,
              replay: () => around(plainReplay, () => captured.replay()),
              dispose: () => captured.dispose(),
            }
          },
        }
      : {}),
  }
  return {
    backend,
    begin() {
      classes = []
      timer.mark()
    },
    end() {
      const called = classes ?? []
      classes = undefined
      return timesByClass(called, timer.read())
    },
    takeHost() {
      const milliseconds = Number.isNaN(first) ? 0 : last - first
      first = Number.NaN
      return milliseconds
    },
    lastCall: () => last,
    takePeak() {
      const bytes = peak
      peak = 0
      return bytes
    },
    withoutPagedAttention(run) {
      skipsPagedAttention = true
      try {
        return run()
      } finally {
        skipsPagedAttention = false
      }
    },
  }
}

/** Sums up the times of calls: one time a call, in their order. */
export function timesByClass(calls: readonly CallClass[], milliseconds: ArrayLike<number>): Record<string, ClassTime> {
  const times = new Map<string, ClassTime>()
  for (const [index, { name, flops }] of calls.entries()) {
    const sum = times.get(name) ?? { milliseconds: 0, calls: 0, flops: 0 }
    times.set(name, { milliseconds: sum.milliseconds + milliseconds[index], calls: sum.calls + 1, flops: sum.flops + flops })
  }
  return Object.fromEntries(times)
}

/** Operations that a backend may lack, or decline. */
const OPTIONAL: Readonly<Partial<Record<string, true>>> = { projectHeads: true, finishLayer: true, step: true } satisfies Partial<
  Record<keyof ModelOps | keyof PagedAttention, true>
>

const plainReplay = () => ({ name: 'replay', flops: 0 })

type Around = <T>(classOf: (result: T) => CallClass | undefined, call: () => T) => T

/** The methods of `target` that have a class, each with `around` about its calls. */
function timedMethods<T extends object>(target: T, classes: CallClasses<Required<T>>, around: Around): T {
  const methods = target as Record<string, (...args: unknown[]) => unknown>
  const there = Object.entries(classes as Record<string, (...args: unknown[]) => CallClass>).filter(([name]) => methods[name])
  const timed = there.map(([name, classOf]) => [
    name,
    (...args: unknown[]) =>
      around(
        // One of the optional operations that has nothing for the case has queued nothing.
        (result) => (name in OPTIONAL && result === undefined ? undefined : classOf(...args)),
        () => methods[name](...args),
      ),
  ])
  return Object.fromEntries(timed) as T
}
