import type { Attention } from '../../src/contract/attention.js'
import type { Layout } from '../../src/contract/layout.js'
import type { ModelBackend } from '../../src/contract/model-backend.js'
import type { ModelOps } from '../../src/contract/model-ops.js'
import type { PagedAttention } from '../../src/contract/paged-attention.js'
import { PackedLayout } from '../../src/packed-layout.js'
import type { HostMemory } from '../../src/reference/host-memory.js'
import { ReferenceBackend } from '../../src/reference/reference-backend.js'

/** A backend that is wrong in one way. */
export interface Mutant {
  readonly name: string
  /** Patterns of case names: each must catch it, and no other case may fail. */
  readonly caughtBy: readonly string[]
  mutate(inner: Inner): {
    readonly attention?: Partial<Attention>
    readonly paged?: Partial<PagedAttention>
    readonly ops?: Partial<ModelOps>
  }
}

/** The sound backend, its kernels and direct access to what its tensors hold. */
export interface Inner {
  readonly memory: HostMemory
  readonly attention: Attention
  readonly paged: PagedAttention
  readonly ops: ModelOps
  /** The layout that the tensors describe, without unused sequences' room. */
  layoutOf(layout: Layout): PackedLayout
}

/** The reference with some kernels replaced. */
export function mutantBackend(mutant: Mutant): ModelBackend {
  const backend = new ReferenceBackend()
  const { attention, paged, ops } = backend
  const memory = backend.memory as HostMemory
  const layoutOf = ({ blockSize, queryStarts, keyStarts }: Layout) =>
    new PackedLayout(lengths(memory.integers(keyStarts)), blockSize, lengths(memory.integers(queryStarts)))
  const changed = mutant.mutate({ memory, attention, paged, ops, layoutOf })
  return {
    contractVersion: backend.contractVersion,
    name: mutant.name,
    device: backend.device,
    limits: backend.limits,
    lost: backend.lost,
    memory,
    attention: { ...attention, ...changed.attention },
    paged: { ...paged, ...changed.paged },
    ops: { ...ops, ...changed.ops },
    supports: (spec) => backend.supports(spec),
    prepare: (specs) => backend.prepare(specs),
    dispose: () => backend.dispose(),
  }
}

function lengths(starts: Int32Array): number[] {
  return Array.from({ length: starts.length - 1 }, (_, index) => starts[index + 1] - starts[index])
}
