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
  return new Map(eachParameterShape(config))
}

/** The entries of `parameterShapes` one by one: a configuration that nothing backs may claim a billion layers. */
export function* eachParameterShape(config: DecoderConfig): Generator<[name: string, shape: readonly number[]]> {
  const { vocabSize, hiddenSize, intermediateSize, layers, heads, kvHeads, headDim } = config
  yield [EMBEDDING, [vocabSize, hiddenSize]]
  for (let layer = 0; layer < layers; layer++) {
    const names = layerNames(layer)
    yield [names.inputNorm, [hiddenSize]]
    yield [names.q, [heads * headDim, hiddenSize]]
    yield [names.k, [kvHeads * headDim, hiddenSize]]
    yield [names.v, [kvHeads * headDim, hiddenSize]]
    yield [names.o, [hiddenSize, heads * headDim]]
    yield [names.qNorm, [headDim]]
    yield [names.kNorm, [headDim]]
    yield [names.postNorm, [hiddenSize]]
    yield [names.gate, [intermediateSize, hiddenSize]]
    yield [names.up, [intermediateSize, hiddenSize]]
    yield [names.down, [hiddenSize, intermediateSize]]
  }
  yield [FINAL_NORM, [hiddenSize]]
  if (!config.tieWordEmbeddings) yield [OUTPUT_HEAD, [vocabSize, hiddenSize]]
}

/** One layer's entries of a map by Hugging Face names, by role. */
export function layerRoles<T>(named: ReadonlyMap<string, T>, layer: number): LayerRoles<T> {
  return Object.fromEntries(Object.entries(layerNames(layer)).map(([role, name]) => [role, named.get(name)])) as LayerRoles<T>
}
