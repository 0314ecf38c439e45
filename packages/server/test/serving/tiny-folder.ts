import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { phsaConfig, RandomStream, reference } from '@phsa/core'
import { DecoderModel, saveModel } from '@phsa/model'

const SPECIALS = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']

/** Printable characters stand for themselves in GPT-2's alphabet of bytes, the others for characters from U+0100 on. */
function byteAlphabet(): string[] {
  const isPrintable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++))
}

/** A tokenizer of a token a byte, with a chat template. */
async function writeTokenizer(folder: string): Promise<void> {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  const added = SPECIALS.map((content, index) => ({
    id: 256 + index,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }))
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: 'BPE', vocab: Object.fromEntries(byteAlphabet().map((character, byte) => [character, byte])), merges: [] },
  }
  const template =
    '{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
  await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify({ eos_token: SPECIALS[0], chat_template: template }))
}

/**
 * A model folder for tests of whole servers: milliseconds a step on the reference backend, and weights large enough for its tokens to depend on the prompt.
 * It never ends a text by itself.
 */
export async function writeTinyFolder(folder: string): Promise<void> {
  const backend = await reference()
  const model = DecoderModel.create({
    config: {
      vocabSize: 256 + SPECIALS.length,
      hiddenSize: 8,
      intermediateSize: 16,
      layers: 1,
      heads: 2,
      kvHeads: 1,
      headDim: 4,
      rmsNormEpsilon: 1e-6,
      ropeTheta: 10_000,
      maxPositions: 4096,
      tieWordEmbeddings: true,
      eosTokenIds: [],
    },
    backend,
    phsa: phsaConfig({ blockSize: 4, initTokens: 4, localTokens: 8, topK: 2 }),
    seed: 1,
  })
  for (const tensor of model.parameters.values()) {
    const values = await backend.memory.download(tensor)
    const random = new RandomStream(1 + values.length)
    backend.memory.write(
      tensor,
      values.map((value: number) => (tensor.shape.length === 1 ? 1 + 0.3 * random.normal() : value * 25)),
    )
  }
  await saveModel(model, folder)
  await writeTokenizer(folder)
  model.dispose()
  backend.dispose()
}
