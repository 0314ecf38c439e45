import { parentPort, workerData } from 'node:worker_threads'
import { getRequestListener } from '@hono/node-server'
import { TextTokenizer } from '@phsa/model'
import type { ServerPhase } from './api/api-settings.js'
import { createApi } from './api/create-api.js'
import type { HttpWorkerAnswer, HttpWorkerCall, HttpWorkerData } from './http-worker-messages.js'
import { HttpListener } from './listen/http-listener.js'
import { EnginePort } from './port/engine-port.js'
import { errorMessage } from './port/error-message.js'
import { InlineTexts } from './texts/texts.js'
import { ThreadedTexts } from './texts/threaded-texts.js'

// The thread of HTTP: requests, texts and templates, beside the thread in which the model computes. `createServer` starts it.

const { enginePort, engineLimits, tokenizerFolder, modelName, host, port, timeouts, settings, log } = workerData as HttpWorkerData
let phase: ServerPhase = 'ready'

async function listen(): Promise<HttpListener> {
  const tokenizer = await TextTokenizer.fromFolder(tokenizerFolder)
  const api = createApi({
    engine: new EnginePort(enginePort, engineLimits),
    tokenizer,
    texts: ThreadedTexts.ofFolder(new InlineTexts(tokenizer), tokenizerFolder),
    modelName,
    settings: { ...settings, phase: () => phase, ...(log && { log: (line) => process.stderr.write(`${JSON.stringify(line)}\n`) }) },
  })
  return HttpListener.listen(getRequestListener(api.fetch), host, port, timeouts)
}

function tell(answer: HttpWorkerAnswer): void {
  parentPort?.postMessage(answer)
}

async function obey(listener: HttpListener, call: HttpWorkerCall): Promise<void> {
  phase = 'draining'
  if (call === 'drain') {
    await listener.idle()
    tell({ type: 'idle' })
    return
  }
  await listener.close()
  tell({ type: 'closed' })
}

try {
  const listener = await listen()
  parentPort?.on('message', (call: HttpWorkerCall) => void obey(listener, call))
  tell({ type: 'listening', address: listener.address })
} catch (error) {
  tell({ type: 'failed', error: errorMessage(error) })
  enginePort.close()
}
