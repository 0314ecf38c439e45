import { schemaGrammar } from './json-grammar/schema-grammar.js'
import { refuseParameter } from './refuse-parameter.js'
import type { ChatBody } from './schemas/chat-schema.js'

/**
 * What a text has to be that must call a tool: one call, as `ToolCalls` parses it, whose arguments are of the tool's schema.
 * @throws ApiError 400 where there is no such tool, or its schema cannot be followed; for tools and a response_format at once
 */
export function callGrammar({ tools, tool_choice, response_format }: ChatBody): { readonly grammar?: string } {
  const given = tools ?? []
  if (given.length > 0 && (response_format?.type ?? 'text') !== 'text')
    refuseParameter('response_format', 'a text of a response_format holds no calls; leave tools or response_format out.')
  if (!tool_choice || tool_choice === 'auto' || tool_choice === 'none') return {}
  const name = tool_choice === 'required' ? undefined : tool_choice.function.name
  const callable = given.map((tool, index) => ({ ...tool.function, index })).filter((tool) => name === undefined || tool.name === name)
  if (callable.length === 0) refuseParameter('tool_choice', 'tool_choice asks for a call of a tool that is not in tools; add it there.')
  const texts = callable.map(({ name: called, parameters, index }) => ({
    before: `<tool_call>\n{"name": ${JSON.stringify(called)}, "arguments": `,
    schema: parameters ?? { type: 'object', additionalProperties: false },
    after: '}\n</tool_call>',
    param: `tools[${index}].function.parameters`,
  }))
  return { grammar: schemaGrammar(texts) }
}
