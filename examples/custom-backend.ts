// A backend of one's own: the reference, with a stopwatch around its attention. One with kernels has the same shape.
//
//   npx tsx examples/custom-backend.ts
import { type Attention, type AttentionBackend, type AttentionSpec, CONTRACT_VERSION, reference, UnsupportedError } from '@phsa/core'
import { runConformance } from '@phsa/core/testing'

/** @param milliseconds by operation; calls add to it */
export async function stopwatch(milliseconds: Map<string, number>): Promise<AttentionBackend> {
  const inner = await reference()

  /** A no names the value and what is allowed; `firstSupported` passes it on. */
  const supports: AttentionBackend['supports'] = (spec) =>
    spec.blockSize % 8 === 0
      ? inner.supports(spec)
      : { ok: false, reason: `blockSize is ${spec.blockSize}; stopwatch takes multiples of 8` }

  const timed = <Input extends { spec: AttentionSpec }, Output>(name: keyof Attention, operation: (input: Input) => Output) => {
    return (input: Input): Output => {
      const support = supports(input.spec)
      if (!support.ok) throw new UnsupportedError('attention-spec', support.reason)
      const start = performance.now()
      const output = operation(input)
      milliseconds.set(name, (milliseconds.get(name) ?? 0) + performance.now() - start)
      return output
    }
  }

  return {
    contractVersion: CONTRACT_VERSION,
    name: 'stopwatch',
    device: inner.device,
    limits: inner.limits,
    // Tensors are the inner backend's, so its checks of ownership hold for this one.
    memory: inner.memory,
    paged: inner.paged,
    attention: {
      ...inner.attention,
      poolBlocks: timed('poolBlocks', inner.attention.poolBlocks),
      selectBlocks: timed('selectBlocks', inner.attention.selectBlocks),
      attend: timed('attend', inner.attention.attend),
    },
    supports,
    prepare: (specs) => inner.prepare(specs),
    lost: inner.lost,
    dispose: () => inner.dispose(),
  }
}

// What a backend must compute, which errors it must throw and what it must not keep are cases; these are some of them.
const times = new Map<string, number>()
const report = await runConformance({ name: 'stopwatch', create: () => stopwatch(times), filter: 'f32/attend/m8-*' })
console.log(`${report.verdict}: ${report.passed} passed, ${report.failed} failed, ${report.refused} refused`)
for (const [name, spent] of times) console.log(`${name}: ${spent.toFixed(0)} ms`)
