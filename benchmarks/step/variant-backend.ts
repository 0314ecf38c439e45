import type { ModelBackend } from '@phsa/core'
import type { CudaModelBackend } from '@phsa/kernels-cuda'

/** What of a decoding step is done otherwise than usual, to see what it costs. */
export const VARIANTS = ['usual', 'layers at once', 'attention in parts', 'composed', 'without attention'] as const
export type Variant = (typeof VARIANTS)[number]

/**
 * The same backend in a variant; disposing it does nothing. `layers at once` takes `decodeLayers`, which no other variant has; `without attention` gives the queries
 * back and caches nothing.
 */
export function variantBackend(inner: CudaModelBackend, variant: Variant): ModelBackend {
  const { contractVersion, name, device, limits, memory, attention, lost } = inner
  const withoutAttention: ModelBackend['paged'] = {
    createCache: (options) => inner.paged.createCache(options),
    append: () => undefined,
    selectBlocks: (_cache, q) => q,
    attend: (_cache, q) => ({ out: q, lse: q }),
  }
  const paged = {
    usual: inner.paged,
    'layers at once': inner.paged,
    'attention in parts': { ...inner.paged, step: undefined },
    composed: { ...inner.paged, step: undefined },
    'without attention': withoutAttention,
  }
  return {
    contractVersion,
    name,
    device,
    limits,
    memory,
    attention,
    paged: paged[variant],
    ops: variant === 'composed' ? { ...inner.ops, projectHeads: undefined, finishLayer: undefined } : inner.ops,
    lost,
    decodeLayers: variant === 'layers at once' ? inner.decodeLayers : undefined,
    supports: (spec) => inner.supports(spec),
    prepare: (specs) => inner.prepare(specs),
    capture: (step) => inner.capture(step),
    dispose: () => undefined,
  }
}
