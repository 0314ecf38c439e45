import type { StreamAnswer } from './client-streams.js'
import { runStreams, SERVE_KEYS, type ServeContext, servePrompt, streamRequest } from './serve-context.js'
import type { SameRequest } from './serve-result.js'

/**
 * Runs one request alone, again, on its cached pages, without log-probabilities (so that steps are queued before the tokens of the last ones are known), and
 * among others, with each of two temperatures; streams of other keys share no cached pages.
 */
export async function compareRequests(context: ServeContext): Promise<SameRequest[]> {
  const { plan } = context
  const { prompt: length, tokens, batch } = plan.checked
  const [first, second, third, fourth] = SERVE_KEYS
  const found: SameRequest[] = []
  for (const temperature of [0, 1]) {
    const shared = { maxTokens: tokens, temperature, logprobs: true }
    const request = streamRequest({ ...shared, prompt: servePrompt(plan, length, 7 + temperature), seed: 42 })
    const others = Array.from({ length: batch - 1 }, (_, index) =>
      streamRequest({ ...shared, prompt: servePrompt(plan, length - (index % 7), 100 + index), seed: index, key: third }),
    )
    const run = async (key: string, beside: typeof others = []) => (await runStreams(context, [{ ...request, key }, ...beside]))[0]
    const alone = await run(first)
    found.push({ beside: 'alone', temperature, batch: 1, ...compare(alone, await run(second)) })
    found.push({ beside: 'cached', temperature, batch: 1, ...compare(alone, await run(second)) })
    const [ahead] = await runStreams(context, [{ ...request, logprobs: false, key: fourth }])
    found.push({ beside: 'ahead', temperature, batch: 1, ...compare(alone, ahead) })
    found.push({ beside: 'batch', temperature, batch, ...compare(alone, await run(third, others)) })
  }
  return found
}

function compare(
  left: StreamAnswer,
  right: StreamAnswer,
): Pick<SameRequest, 'tokens' | 'equalTokens' | 'equalLogprobs' | 'largestDifference'> {
  const other = left.ids.findIndex((id, index) => id !== right.ids[index])
  const equalTokens = other < 0 ? left.ids.length : other
  const both = Math.min(equalTokens, right.logprobs.length)
  const differences = left.logprobs.slice(0, both).map((value, index) => Math.abs(value - right.logprobs[index]))
  return {
    tokens: left.ids.length,
    equalTokens,
    equalLogprobs: differences.filter((difference) => difference === 0).length,
    largestDifference: Math.max(0, ...differences),
  }
}
