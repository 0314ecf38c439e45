import { TextTokenizer } from '@phsa/model'
import type { EncodeAnswer, EncodeRequest } from './encoder-processes.js'

// A process that tokenizes for `EncoderProcesses`: the folder of the tokenizer is its argument. Ctrl-C reaches it too, but its parent decides.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})
process.once('disconnect', () => process.exit())

const tokenizer = TextTokenizer.fromFolder(process.argv[2])
process.on('message', async (request: unknown) => {
  process.send?.(await answer(request as EncodeRequest))
})

async function answer({ id, text }: EncodeRequest): Promise<EncodeAnswer> {
  try {
    return { id, ids: (await tokenizer).encode(text) }
  } catch (error) {
    return { id, fault: (error as Error).message }
  }
}
