import { type Attention, type AttentionSpec, derivedDType, type Layout, type Memory, type ModelBackend } from '@phsa/core'

/** The same backend with other attention kernels; disposing it does nothing. Nothing is captured, so that every call is seen. */
export function withAttention(backend: ModelBackend, attention: Attention): ModelBackend {
  const { contractVersion, name, device, limits, memory, paged, ops, lost } = backend
  return {
    contractVersion,
    name,
    device,
    limits,
    memory,
    attention,
    paged,
    ops,
    lost,
    supports: (spec) => backend.supports(spec),
    prepare: (specs) => backend.prepare(specs),
    dispose: () => undefined,
  }
}

/** Attention kernels with a stopwatch. */
export interface TimedAttention {
  readonly attention: Attention
  /** Seconds inside of its calls since the last time this was asked. */
  take(): number
}

/** Only for a backend that returns from a call when it is done: where work is queued, the time of the call says nothing. */
export function timedAttention(inner: Attention): TimedAttention {
  let seconds = 0
  const timed =
    <Input, Output>(call: (input: Input) => Output) =>
    (input: Input): Output => {
      const started = performance.now()
      try {
        return call(input)
      } finally {
        seconds += (performance.now() - started) / 1000
      }
    }
  return {
    attention: {
      poolBlocks: timed((input) => inner.poolBlocks(input)),
      poolBlocksBackward: timed((input) => inner.poolBlocksBackward(input)),
      selectBlocks: timed((input) => inner.selectBlocks(input)),
      selectTop: timed((input) => inner.selectTop(input)),
      attend: timed((input) => inner.attend(input)),
      attendBackward: timed((input) => inner.attendBackward(input)),
      blockMass: timed((input) => inner.blockMass(input)),
      selectionLoss: timed((input) => inner.selectionLoss(input)),
      selectionLossBackward: timed((input) => inner.selectionLossBackward(input)),
    },
    take() {
      const taken = seconds
      seconds = 0
      return taken
    },
  }
}

/**
 * Kernels that compute nothing: zeros of the right shapes. A training step with them does all its other work, so what it saves is the time of
 * attention, also on a backend that queues work and whose calls cannot be timed.
 */
export function absentAttention(memory: Memory): Attention {
  const reps = (spec: AttentionSpec, layout: Layout) =>
    memory.alloc([spec.kvHeads, layout.blocks * spec.representatives, spec.headDim], derivedDType(spec.dtype))
  const scalar = () => memory.alloc([1], 'f32')
  return {
    poolBlocks: ({ spec, layout }) => reps(spec, layout),
    poolBlocksBackward: () => undefined,
    selectBlocks: ({ spec, layout }) => memory.alloc([spec.kvHeads, layout.queryTokens, spec.topK], 'i32'),
    selectTop: () => undefined,
    attend: ({ q, spec, layout }) => ({
      out: memory.alloc(q.shape, q.dtype),
      lse: memory.alloc([layout.queryTokens, spec.heads], derivedDType(spec.dtype)),
    }),
    attendBackward: ({ q, k, v }) => ({
      dq: memory.alloc(q.shape, q.dtype),
      dk: memory.alloc(k.shape, k.dtype),
      dv: memory.alloc(v.shape, v.dtype),
    }),
    blockMass: ({ rows, spec, layout }) => memory.alloc([spec.kvHeads, rows.shape[0], layout.maxBlocks], derivedDType(spec.dtype)),
    selectionLoss: scalar,
    selectionLossBackward: ({ spec, layout }) => ({ loss: scalar(), dReps: reps(spec, layout) }),
  }
}
