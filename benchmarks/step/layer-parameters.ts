import type { Tensor } from '@phsa/core'
import type { DecoderModel } from '@phsa/model'

/** One layer's parameters by role. */
export function layerParameters(model: DecoderModel, layer: number) {
  const of = (name: string): Tensor => {
    const tensor = model.parameters.get(`model.layers.${layer}.${name}.weight`)
    if (!tensor) throw new RangeError(`the model has no ${name} in layer ${layer}.`)
    return tensor
  }
  return {
    inputNorm: of('input_layernorm'),
    q: of('self_attn.q_proj'),
    k: of('self_attn.k_proj'),
    v: of('self_attn.v_proj'),
    o: of('self_attn.o_proj'),
    qNorm: of('self_attn.q_norm'),
    kNorm: of('self_attn.k_norm'),
    postNorm: of('post_attention_layernorm'),
    gate: of('mlp.gate_proj'),
    up: of('mlp.up_proj'),
    down: of('mlp.down_proj'),
  }
}
