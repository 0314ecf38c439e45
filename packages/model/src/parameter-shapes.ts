import type { DecoderConfig } from './decoder-config.js'

/** Hugging Face name of the token embedding, [V, E]. */
export const EMBEDDING = 'model.embed_tokens.weight'
/** Hugging Face name of the norm before the output head, [E]. */
export const FINAL_NORM = 'model.norm.weight'
/** Hugging Face name of the output head, [V, E]; a model with a tied head has none. */
export const OUTPUT_HEAD = 'lm_head.weight'

/** Hugging Face names of one layer's parameters. */
export function layerNames(layer: number) {
  const prefix = `model.layers.${layer}`
  return {
    inputNorm: `${prefix}.input_layernorm.weight`,
    q: `${prefix}.self_attn.q_proj.weight`,
    k: `${prefix}.self_attn.k_proj.weight`,
    v: `${prefix}.self_attn.v_proj.weight`,
    o: `${prefix}.self_attn.o_proj.weight`,
    qNorm: `${prefix}.self_attn.q_norm.weight`,
    kNorm: `${prefix}.self_attn.k_norm.weight`,
    postNorm: `${prefix}.post_attention_layernorm.weight`,
    gate: `${prefix}.mlp.gate_proj.weight`,
    up: `${prefix}.mlp.up_proj.weight`,
    down: `${prefix}.mlp.down_proj.weight`,
  } as const
}

/** The parameters of one layer by role: names, tensors or gradients. */
export type LayerRoles<T> = Readonly<Record<keyof ReturnType<typeof layerNames>, T>>

/** Shape of every parameter by its Hugging Face name; projections are [outputs, inputs]. With a tied head there is no `lm_head.weight`. */
export function parameterShapes(config: DecoderConfig): Map<string, readonly number[]> {
  const { vocabSize, hiddenSize, intermediateSize, layers, heads, kvHeads, headDim } = config
  const shapes = new Map<string, readonly number[]>([[EMBEDDING, [vocabSize, hiddenSize]]])
  for (let layer = 0; layer < layers; layer++) {
    const names = layerNames(layer)
    shapes.set(names.inputNorm, [hiddenSize])
    shapes.set(names.q, [heads * headDim, hiddenSize])
    shapes.set(names.k, [kvHeads * headDim, hiddenSize])
    shapes.set(names.v, [kvHeads * headDim, hiddenSize])
    shapes.set(names.o, [hiddenSize, heads * headDim])
    shapes.set(names.qNorm, [headDim])
    shapes.set(names.kNorm, [headDim])
    shapes.set(names.postNorm, [hiddenSize])
    shapes.set(names.gate, [intermediateSize, hiddenSize])
    shapes.set(names.up, [intermediateSize, hiddenSize])
    shapes.set(names.down, [hiddenSize, intermediateSize])
  }
  shapes.set(FINAL_NORM, [hiddenSize])
  if (!config.tieWordEmbeddings) shapes.set(OUTPUT_HEAD, [vocabSize, hiddenSize])
  return shapes
}

/** One layer's entries of a map by Hugging Face names, by role. */
export function layerRoles<T>(named: ReadonlyMap<string, T>, layer: number): LayerRoles<T> {
  return Object.fromEntries(Object.entries(layerNames(layer)).map(([role, name]) => [role, named.get(name)])) as LayerRoles<T>
}
