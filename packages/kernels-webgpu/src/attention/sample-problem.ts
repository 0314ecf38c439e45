import { type Attention, type AttentionSpec, type Layout, type Memory, PackedLayout, type Tensor, uploadLayout } from '@phsa/core'

/** Keys of the sample: some blocks to choose from beside the forced ones of usual specs. */
const TOKENS = 2048

/** Small problems of a spec. */
export interface Sample {
  /** Calls attention forward once for many queries and once for a single one, on zeros. */
  run(): void
  dispose(): void
}

/** Layouts of small problems, for kernels to be compiled with. */
export function sampleOf(memory: Memory, attention: Attention, spec: AttentionSpec): Sample {
  const layouts = [TOKENS, 1].map((queries) => uploadLayout(memory, new PackedLayout([TOKENS], spec.blockSize, [queries])))
  return {
    run: () => memory.scope(() => runForward(memory, attention, spec, layouts)),
    dispose() {
      for (const { queryStarts, keyStarts, blockStarts } of layouts)
        for (const starts of [queryStarts, keyStarts, blockStarts]) starts.dispose()
    },
  }
}

function runForward(memory: Memory, attention: Attention, spec: AttentionSpec, layouts: readonly Layout[]): void {
  const tensor = (rows: number, heads: number): Tensor => memory.alloc([rows, heads, spec.headDim], spec.dtype)
  const [k, v] = [tensor(TOKENS, spec.kvHeads), tensor(TOKENS, spec.kvHeads)]
  const weights = { kind: 'fused', weights: memory.alloc([TOKENS], 'f32') } as const
  const reps = attention.poolBlocks({ k, weights, layout: layouts[0], spec })
  for (const layout of layouts) {
    const q = tensor(layout.queryTokens, spec.heads)
    attention.attend({ q, k, v, selected: attention.selectBlocks({ q, reps, layout, spec }), layout, spec })
  }
}
