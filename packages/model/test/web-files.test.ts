import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { importsOfNode } from '../../../scripts/imports-of-node.js'
import { type DownloadProgress, loadModel, webFiles } from '../src/index.js'
import { testedBackends } from './backends.js'

const qwen = fileURLToPath(new URL('../../../fixtures/models/qwen3-tiny', import.meta.url))
const NAMES = ['config.json', 'model.safetensors']

let server: Server
let asked: string[]
/** What stands in place of a missing file. */
let missing: { status: number; type: string }
let address: string

beforeEach(async () => {
  asked = []
  missing = { status: 404, type: 'text/plain' }
  server = createServer(({ url = '' }, response) => {
    const name = url.replace('/models/tiny/', '')
    asked.push(name)
    if (NAMES.includes(name)) {
      const bytes = readFileSync(`${qwen}/${name}`)
      response.writeHead(200, { 'content-length': bytes.length }).end(bytes)
    } else {
      response.writeHead(missing.status, { 'content-type': missing.type }).end('<!doctype html>')
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/models/tiny/`
})
afterEach(() => {
  server.closeAllConnections()
  server.close()
})

test('a model loads from an address as from its folder, each file fetched once, with progress', async () => {
  const backend = await testedBackends[0].create()
  const progress: DownloadProgress[] = []
  const files = webFiles(address, { onProgress: (step) => progress.push(step) })
  const fetched = await loadModel(files, { backend })
  const read = await loadModel(qwen, { backend })
  const name = 'model.norm.weight'
  expect(await backend.memory.download(fetched.model.parameters.get(name)!)).toEqual(
    await backend.memory.download(read.model.parameters.get(name)!),
  )
  expect(fetched.model.config).toEqual({
    ...read.model.config,
    eosTokenIds: fetched.model.config.eosTokenIds,
    generationEntries: undefined,
  })
  expect(asked.filter((file) => file === 'model.safetensors')).toHaveLength(1)
  const { length } = readFileSync(`${qwen}/model.safetensors`)
  expect(progress.at(-1)).toEqual({ file: 'model.safetensors', received: length, total: length })
  backend.dispose()
})

test('what is not there is undefined, also where the server sends a page instead', async () => {
  expect(await webFiles(address).size('tokenizer.json')).toBeUndefined()
  missing = { status: 200, type: 'text/html; charset=utf-8' }
  expect(await webFiles(address).size('tokenizer.json')).toBeUndefined()
})

test('errors name the address and what the server said; what failed is fetched anew', async () => {
  missing = { status: 503, type: 'text/plain' }
  const files = webFiles(address)
  await expect(files.size('tokenizer.json')).rejects.toThrow(/tiny\/tokenizer\.json: the server answered 503 Service Unavailable$/)
  missing = { status: 404, type: 'text/plain' }
  expect(await files.size('tokenizer.json')).toBeUndefined()
  await expect(files.read('config.json', 0, 1e6)).rejects.toThrow(/has \d+ bytes; bytes up to 1000000 were asked for/)
  await expect(webFiles('http://127.0.0.1:1/none').size('config.json')).rejects.toThrow(/cannot be fetched .* is the server there/)
})

test('a bundle for pages asks for nothing of Node', async () => {
  const entry = fileURLToPath(new URL('../src/index.ts', import.meta.url))
  expect(await importsOfNode(entry, /^@(phsa|huggingface)\//)).toEqual([])
})
