import { readFileSync } from 'node:fs'
import { PHSA_4K, parseSafetensors, type SafetensorsTensor, serializeSafetensors } from '@phsa/core'

/** Files of a folder by name. */
export type FolderContents = Readonly<Record<string, Uint8Array>>

/** What is mutated: real files, valid as they stand. */
export interface FuzzCorpus {
  /** A model in one file with its tokenizer and generation settings. */
  readonly single: FolderContents
  /** The same in shards. */
  readonly sharded: FolderContents
  /** A tokenizer of 8,192 ids, whole. */
  readonly tokenizer: FolderContents
}

const fixtures = new URL('../../../../fixtures/', import.meta.url)
const encode = (json: unknown) => new TextEncoder().encode(JSON.stringify(json))

/** Ids of the small tokenizer. */
const SMALL = 400

/** From the fixtures: qwen3-tiny, the same in shards, both with the first ids of tokenizer-8k so that they load fast. */
export function readCorpus(): FuzzCorpus {
  const read = (path: string) => new Uint8Array(readFileSync(new URL(path, fixtures)))
  const tokenizer = {
    'tokenizer.json': read('tokenizer-8k/tokenizer.json'),
    'tokenizer_config.json': read('tokenizer-8k/tokenizer_config.json'),
  }
  const common = {
    'config.json': read('models/qwen3-tiny/config.json'),
    'generation_config.json': encode({
      do_sample: true,
      temperature: 0.6,
      top_k: 20,
      top_p: 0.95,
      eos_token_id: [0, 2],
      max_new_tokens: 9,
    }),
    'tokenizer.json': encode(smallTokenizer(tokenizer['tokenizer.json'])),
    'tokenizer_config.json': tokenizer['tokenizer_config.json'],
  }
  const weights = read('models/qwen3-tiny/model.safetensors')
  const sharded = { ...common, 'config.json': encode(olderConfig(common['config.json'])), ...shardsOf(weights) }
  return { single: { ...common, 'model.safetensors': weights }, sharded, tokenizer }
}

/** As transformers 4 writes it, and with PHSA settings. */
function olderConfig(bytes: Uint8Array): unknown {
  const { rope_parameters: _, layer_types: __, ...rest } = JSON.parse(new TextDecoder().decode(bytes))
  return { ...rest, rope_theta: 1e6, rope_scaling: { type: 'linear', factor: 2 }, phsa: PHSA_4K }
}

interface TokenizerJson {
  readonly model: { readonly vocab: Record<string, number>; readonly merges: readonly (string | readonly [string, string])[] }
}

function smallTokenizer(bytes: Uint8Array): TokenizerJson {
  const json = JSON.parse(new TextDecoder().decode(bytes)) as TokenizerJson
  const vocab = Object.fromEntries(Object.entries(json.model.vocab).filter(([, id]) => id < SMALL))
  const merges = json.model.merges.filter((merge) => {
    const [left, right] = typeof merge === 'string' ? merge.split(' ') : merge
    return left in vocab && right in vocab && left + right in vocab
  })
  return { ...json, model: { ...json.model, vocab, merges } }
}

function shardsOf(bytes: Uint8Array): FolderContents {
  const file = parseSafetensors(bytes)
  const names = [...file.entries.keys()]
  const third = Math.ceil(names.length / 3)
  const shards: Record<string, Uint8Array> = {}
  const weightMap: Record<string, string> = {}
  for (let shard = 0; shard < 3; shard++) {
    const name = `model-0000${shard + 1}-of-00003.safetensors`
    const part = names.slice(shard * third, (shard + 1) * third)
    const tensors = part.map((tensor): [string, SafetensorsTensor] => [
      tensor,
      { shape: file.entries.get(tensor)!.shape, data: file.read(tensor) },
    ])
    shards[name] = serializeSafetensors(new Map(tensors), { format: 'pt' })
    for (const tensor of part) weightMap[tensor] = name
  }
  return { ...shards, 'model.safetensors.index.json': encode({ metadata: { total_size: bytes.length }, weight_map: weightMap }) }
}
