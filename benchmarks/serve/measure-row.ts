import { attentionSpec } from '@phsa/core'
import { timing } from '../attention/device-timing.js'
import { stepBytes } from '../decode/measure-decode.js'
import { decodeWindow } from './decode-window.js'
import { runStreams, type ServeContext, servePrompt, streamRequest } from './serve-context.js'
import type { ServePlan, ServeRowPlan } from './serve-plan.js'
import type { ServeFigures } from './serve-result.js'

/** First tokens that are timed one after the other, as long as they take no longer than this together. */
const FIRST_TOKENS = 4
const FIRST_TOKENS_MILLISECONDS = 10_000

/** Times first tokens one by one, then decoding with all streams of a row. @throws Error for what a stream fails with, or what takes too long */
export async function measureRow(context: ServeContext, row: ServeRowPlan): Promise<ServeFigures> {
  const { plan, server, watch } = context
  const { context: length, batch, attention } = row
  const dense = attention === 'dense'
  // No prompt twice, so that none is found in the prefix cache.
  let seed = 1000 * (length + batch) + (dense ? 500 : 0)
  const prompt = () => servePrompt(plan, length, seed++)
  const before = await server.stats()
  const firstToken = batch === 1 ? await timeFirstTokens(context, prompt, dense) : undefined
  watch.take()
  // While one prompt is read, the streams before it go on.
  const promptSteps = Math.ceil((batch * length) / (plan.stepTokens - batch)) + 1
  const maxTokens = promptSteps + plan.warmUp + plan.steps
  const requests = Array.from({ length: batch }, () => streamRequest({ prompt: prompt(), maxTokens, dense }))
  const answers = await runStreams(context, requests, true)
  const decode = decodeWindow(answers, watch.take(), plan.warmUp)
  const after = await server.stats()
  return {
    ...(firstToken && { firstToken }),
    firstTokens: answers.map(({ sent, times }) => times[0] - sent),
    decode,
    stepBytes: bytesOfStep(plan, context.model.parameterCount, row, length + maxTokens / 2),
    preemptions: after.preemptions - before.preemptions,
  }
}

async function timeFirstTokens(context: ServeContext, prompt: () => readonly number[], dense: boolean) {
  const samples: number[] = []
  const started = performance.now()
  for (let run = 0; run < FIRST_TOKENS && performance.now() - started < FIRST_TOKENS_MILLISECONDS; run++) {
    const [{ sent, times }] = await runStreams(context, [streamRequest({ prompt: prompt(), maxTokens: 1, dense })])
    samples.push(times[0] - sent)
  }
  // The first of a length allocates and loads kernels, where there are others.
  return timing(samples.length > 1 ? samples.slice(1) : samples)
}

function bytesOfStep({ config, phsa, dtype }: ServePlan, parameters: number, { batch, attention }: ServeRowPlan, length: number): number {
  const spec = attentionSpec(phsa, { ...config, dtype })
  const bytesOfElement = dtype === 'bf16' ? 2 : 4
  return parameters * bytesOfElement + batch * config.layers * stepBytes(spec, Math.round(length), attention === 'dense').layer
}
