import { TextTokenizer } from '@phsa/model'

/** Every byte is a token, in the alphabet of byte-level BPE; after them a few that are merged, and three that are special. */
const alphabet = Array.from({ length: 256 }, (_, byte) => byte)
const merges = ['t h', 'th e', 'Ġ the', 'o x', 'f ox']
export const SPECIALS = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']

function printable(): string[] {
  let free = 0x100
  return alphabet.map((byte) => {
    const visible = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
    return String.fromCodePoint(visible ? byte : free++)
  })
}

const pieces = [...printable(), ...merges.map((merge) => merge.replace(' ', ''))]
const specialTokens = SPECIALS.map((content, index) => ({
  id: pieces.length + index,
  content,
  special: true,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
}))

const CHAT_TEMPLATE = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`

/** A tokenizer of 264 entries: texts of a random model are mostly broken characters. */
export function tinyTokenizer(chatTemplate: string | undefined = CHAT_TEMPLATE): TextTokenizer {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  return TextTokenizer.fromJson(
    {
      version: '1.0',
      added_tokens: specialTokens,
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: byteLevel,
      model: { type: 'BPE', vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])), merges },
    },
    { eos_token: SPECIALS[0], ...(chatTemplate !== undefined && { chat_template: chatTemplate }) },
  )
}
