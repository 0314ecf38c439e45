import type { ModelBackend, ModelOps } from '@phsa/core'
import type { CudaModelBackend } from '@phsa/kernels-cuda'

/** What of a decoding step is done otherwise than usual, to see what it costs. */
export const VARIANTS = ['usual', 'without upcoming', 'composed', 'without attention'] as const
export type Variant = (typeof VARIANTS)[number]

/** The same backend in a variant; disposing it does nothing. `without attention` gives the queries back and caches nothing. */
export function variantBackend(inner: CudaModelBackend, variant: Variant): ModelBackend {
  const { contractVersion, name, device, limits, memory, attention, lost } = inner
  const withoutAttention: ModelBackend['paged'] = {
    createCache: (options) => inner.paged.createCache(options),
    append: () => undefined,
    selectBlocks: (_cache, q) => q,
    attend: (_cache, q) => ({ out: q, lse: q }),
  }
  return {
    contractVersion,
    name,
    device,
    limits,
    memory,
    attention,
    paged: variant === 'without attention' ? withoutAttention : inner.paged,
    ops: variantOps(inner.ops, variant),
    lost,
    supports: (spec) => inner.supports(spec),
    prepare: (specs) => inner.prepare(specs),
    capture: (step) => inner.capture(step),
    dispose: () => undefined,
  }
}

function variantOps(ops: ModelOps, variant: Variant): ModelOps {
  if (variant === 'composed') return { ...ops, projectHeads: undefined, finishLayer: undefined }
  if (variant !== 'without upcoming') return ops
  return { ...ops, projectHeads: (input) => ops.projectHeads?.({ ...input, upcoming: [] }) }
}
