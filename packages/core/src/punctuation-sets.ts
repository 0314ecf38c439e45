import { InvalidConfigError } from './errors/invalid-config-error.js'

/** The 32 ASCII punctuation marks. */
const ENGLISH = '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'
const CHINESE = '，。、；：？！“”‘’（）《》〈〉【】『』「」—…·～'
const CLAUSE = '.,;:?!。，；：？！'

/** Names of the built-in punctuation sets (spec 2). */
export const PUNCTUATION_SET_NAMES = ['en', 'en+zh', 'clause', 'unicode'] as const
/** Name of a built-in punctuation set (spec 2). */
export type PunctuationSetName = (typeof PUNCTUATION_SET_NAMES)[number]

/** A set by name, or the characters of one's own: a string, or a list of single characters. Plain JSON. */
export type PunctuationSet = PunctuationSetName | { readonly custom: Iterable<string> }

/**
 * Membership test of a punctuation set (spec 2): takes one character, a whole code point.
 * @throws InvalidConfigError for an unknown name, an empty set, or an entry that is not one character
 */
export function punctuationTest(set: PunctuationSet): (character: string) => boolean {
  if (typeof set === 'object' && set !== null) return memberOf(customCharacters(set.custom))
  switch (set) {
    case 'en':
      return memberOf(ENGLISH)
    case 'en+zh':
      return memberOf(ENGLISH + CHINESE)
    case 'clause':
      return memberOf(CLAUSE)
    case 'unicode':
      return (character) => /^\p{P}$/u.test(character)
    default:
      throw new InvalidConfigError(
        'punctuation',
        `punctuation is ${JSON.stringify(set)}; it must be ${PUNCTUATION_SET_NAMES.join(', ')}, or { custom: '.,;' } with characters of your own.`,
      )
  }
}

function memberOf(characters: Iterable<string>): (character: string) => boolean {
  const members = new Set(characters)
  return (character) => members.has(character)
}

function customCharacters(custom: Iterable<string>): string[] {
  const characters = typeof custom?.[Symbol.iterator] === 'function' ? [...custom] : []
  const wrong = characters.find((character) => typeof character !== 'string' || [...character].length !== 1)
  if (characters.length === 0 || wrong !== undefined) {
    const found = characters.length === 0 ? 'no characters' : `${JSON.stringify(wrong)}, which is not one character`
    throw new InvalidConfigError('punctuation', `the custom punctuation set has ${found}; give a string, or a list of single characters.`)
  }
  return characters
}
