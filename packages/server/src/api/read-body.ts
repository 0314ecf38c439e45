import { inWords, shortened } from '@phsa/core'
import type { Context } from 'hono'
import type { z } from 'zod'
import { ApiError } from './api-error.js'
import { requireModestJson } from './require-modest-json.js'

/**
 * The JSON body of a request, as its schema has it.
 * @throws ApiError 415 for another content type or a compressed body, 400 for anything else that is wrong with it, naming the parameter
 */
export async function readBody<T extends z.ZodType>({ req }: Context, schema: T): Promise<z.output<T>> {
  const type = req.header('content-type') ?? ''
  // Also keeps pages of other origins out: they cannot send this type without being asked for leave first.
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new ApiError(415, `the content type is ${inWords(type)}; send JSON with the header content-type: application/json.`)
  }
  const encoding = req.header('content-encoding') ?? 'identity'
  if (encoding.toLowerCase() !== 'identity')
    throw new ApiError(415, `the content encoding is ${inWords(encoding)}; send the body as it is, without compression.`)
  const json = parseJson(await req.arrayBuffer())
  requireModestJson(json)
  const result = schema.safeParse(json)
  if (!result.success) throw describeIssue(result.error.issues[0])
  return result.data
}

function parseJson(bytes: ArrayBuffer): unknown {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new ApiError(400, 'the body is not valid UTF-8; send JSON in UTF-8.', { code: 'invalid_json', cause })
  }
  try {
    return JSON.parse(text)
  } catch (cause) {
    // The parser's own message quotes the body, which may not be logged.
    throw new ApiError(400, `the body of ${bytes.byteLength} bytes is no JSON; send one JSON object.`, { code: 'invalid_json', cause })
  }
}

/** The first thing that is wrong: fixing it may change the others. */
function describeIssue(issue: z.core.$ZodIssue): ApiError {
  const inner = deepest(issue)
  const param = pathOf(inner.path)
  if (inner.code === 'unrecognized_keys') {
    const unknown = inner.keys[0]
    const full = param === '' ? unknown : `${param}.${unknown}`
    return new ApiError(400, `${shortened(full)} is no parameter of this route; GET /openapi.json lists them.`, {
      param: full,
      code: 'unknown_parameter',
    })
  }
  const what = param === '' ? 'the body' : param
  return new ApiError(400, `${shortened(what)}: ${lowerFirst(inner.message)}.`, {
    ...(param !== '' && { param }),
    code: inner.code === 'invalid_type' && inner.message.endsWith('received undefined') ? 'missing_parameter' : 'invalid_parameter',
  })
}

/** Of a union the issue of the member that fits best: the one that is wrong deepest inside; the union's own where all are wrong at once. */
function deepest(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== 'invalid_union') return issue
  const inner = issue.errors
    .map(([first]) => deepest({ ...first, path: [...issue.path, ...first.path] }))
    .filter(({ path }) => path.length > issue.path.length + 1)
  return inner.sort((a, b) => b.path.length - a.path.length)[0] ?? issue
}

function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`
    return text === '' ? String(part) : `${text}.${String(part)}`
  }, '')
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1).replace(/\.$/, '')
}
