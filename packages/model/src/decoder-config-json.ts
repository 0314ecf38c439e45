import type { DType, PhsaConfig } from '@phsa/core'
import { type DecoderConfig, USUAL_ENTRIES } from './decoder-config.js'
import { ropeScalingJson } from './decoder-config-rope.js'

/**
 * The config.json of a model: what transformers 4 and 5 need to open it, what else the file that it was read from had, and the PHSA parameters under `phsa`,
 * which transformers keeps as an unknown entry.
 * @param dtype element type of the weights in the file
 */
export function decoderConfigJson(config: DecoderConfig, phsa: PhsaConfig, dtype: DType = 'f32'): Record<string, unknown> {
  const { eosTokenIds } = config
  const typeName = dtype === 'bf16' ? 'bfloat16' : dtype === 'f16' ? 'float16' : 'float32'
  const ropeScaling = ropeScalingJson(config.ropeScaling)
  return {
    ...USUAL_ENTRIES,
    ...config.otherEntries,
    architectures: ['Qwen3ForCausalLM'],
    model_type: 'qwen3',
    attention_bias: false,
    dtype: typeName,
    eos_token_id: eosTokenIds.length > 1 ? eosTokenIds : (eosTokenIds[0] ?? null),
    head_dim: config.headDim,
    hidden_act: 'silu',
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    layer_types: Array.from({ length: config.layers }, () => 'full_attention'),
    max_position_embeddings: config.maxPositions,
    num_attention_heads: config.heads,
    num_hidden_layers: config.layers,
    num_key_value_heads: config.kvHeads,
    rms_norm_eps: config.rmsNormEpsilon,
    // Both forms: transformers 5 reads the parameters, 4 the scaling and the bare number.
    rope_parameters: { rope_theta: config.ropeTheta, rope_type: 'default', ...ropeScaling },
    ...(config.ropeScaling && { rope_scaling: ropeScaling }),
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieWordEmbeddings,
    torch_dtype: typeName,
    use_sliding_window: false,
    vocab_size: config.vocabSize,
    phsa,
  }
}
