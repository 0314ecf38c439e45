import { z } from 'zod'

/** A text that UTF-8 can hold: no half of a surrogate pair, which a tokenizer would quietly replace. */
export const text = z.string().refine(isWhole, { error: 'it holds half of a surrogate pair; give whole characters' })

/** A field that may be left out, or be null, which says the same. */
export function optional<T extends z.ZodType>(schema: T): z.ZodOptional<z.ZodNullable<T>> {
  return schema.nullish()
}

/** A field of OpenAI's or vLLM's that this server does not follow: only null is taken. */
export function refused(reason: string): z.ZodOptional<z.ZodNull> {
  return z.null({ error: reason }).optional().describe(`Refused: ${reason}.`)
}

/** A field whose one neutral value is taken. */
export function only<T extends string | number | boolean>(value: T, reason: string): z.ZodOptional<z.ZodNullable<z.ZodLiteral<T>>> {
  return z.literal(value, { error: reason }).nullish()
}

/** A token id. Whether the vocabulary has it is seen later. */
export const tokenId = z.int().min(0)

const idListSchema = { type: 'array', minItems: 1, items: { type: 'integer', minimum: 0 } }

/** Token ids, looked at in one go: there may be a hundred thousand. */
export const tokenIds = z
  .unknown()
  .refine(isIdList, { error: 'it must be a list of token ids: integers of at least 0' })
  .meta({ ...idListSchema, minItems: 0 })
  .transform((value) => value as number[])

/** What a completion continues. */
export type Prompt = string | readonly number[]

/** One prompt or several, as text or token ids. */
export const prompts = z
  .unknown()
  .refine((value) => isPrompt(value) || (Array.isArray(value) && value.length > 0 && value.every(isPrompt)), {
    error:
      'it must be a text, a list of texts, a list of token ids, or a list of such lists, none of them empty, without half a surrogate pair',
  })
  .meta({
    anyOf: [
      { type: 'string' },
      { type: 'array', minItems: 1, items: { type: 'string' } },
      idListSchema,
      { type: 'array', minItems: 1, items: idListSchema },
    ],
  })
  .transform((value): readonly Prompt[] => (isPrompt(value) ? [value] : (value as Prompt[])))

function isPrompt(value: unknown): value is Prompt {
  return typeof value === 'string' ? value !== '' && isWhole(value) : isIdList(value) && value.length > 0
}

function isIdList(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((entry) => Number.isInteger(entry) && entry >= 0)
}

function isWhole(value: string): boolean {
  return !/\p{Surrogate}/u.test(value)
}
