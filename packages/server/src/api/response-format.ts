import type { SamplingBody } from './generation-plan.js'
import { schemaGrammar } from './json-grammar/schema-grammar.js'

/** The grammar of the texts that a request wants; undefined for any. @throws ApiError 400 for a schema that cannot be followed */
export function responseGrammar(format: SamplingBody['response_format']): string | undefined {
  if (format?.type === 'json_object') return schemaGrammar([{ schema: { type: 'object' }, param: 'response_format' }])
  if (format?.type !== 'json_schema') return undefined
  return schemaGrammar([{ schema: format.json_schema.schema, param: 'response_format.json_schema.schema' }])
}
