import { parentPort, workerData } from 'node:worker_threads'
import { TextTokenizer } from '@phsa/model'
import { ApiError } from '../api/api-error.js'
import { errorMessage } from '../port/error-message.js'
import type { TextAnswer, TextJob, TextWorkerData } from './text-messages.js'
import { InlineTexts } from './texts.js'

// The thread of long texts, beside that of HTTP. `ThreadedTexts` starts it.

const { tokenizerFolder } = workerData as TextWorkerData
const texts = TextTokenizer.fromFolder(tokenizerFolder).then((tokenizer) => new InlineTexts(tokenizer))

async function work(job: TextJob): Promise<Int32Array | string> {
  if (job.type === 'encode') return (await texts).encode(job.text)
  if (job.type === 'decode') return (await texts).decode(job.ids)
  return (await texts).encodeChat(job.conversation, job.addGenerationPrompt)
}

async function answerOf(job: TextJob): Promise<TextAnswer> {
  try {
    return { type: 'done', result: await work(job) }
  } catch (error) {
    if (!(error instanceof ApiError)) return { type: 'failed', error: errorMessage(error) }
    const { status, message, param, code } = error
    return { type: 'refused', refusal: { status, message, param, code } }
  }
}

parentPort!.on('message', async (job: TextJob) => {
  const answer = await answerOf(job)
  parentPort!.postMessage(answer, answer.type === 'done' && typeof answer.result !== 'string' ? [answer.result.buffer as ArrayBuffer] : [])
})
