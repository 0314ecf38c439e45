import { type CaseResult, ConformanceSession, conformanceCases, failureText } from '@phsa/core/testing'
import { type WebgpuModelBackend, webgpu } from '@phsa/kernels-webgpu'
import { type ModelFiles, verifyModelFixture } from '@phsa/model'
import { trainTinyModel } from './browser-training.js'

/** What `browser.test.ts` calls in the browser. Everything goes to and fro as JSON. */
export interface BrowserPage {
  /** The device, or why there is none. */
  open(): Promise<{ device?: string; unavailable?: string }>
  /** Runs one case of the conformance suite. */
  runCase(name: string): Promise<{ outcome: CaseResult['outcome']; text: string }>
  /** Compares with the model fixture in the folder at this address. */
  verifyModel(address: string): Promise<Verdict>
  /** Trains a few steps with the trainer's entry for browsers; see `trainTinyModel`. */
  train(): Promise<number[]>
  /** Loses the device while a backend holds a tensor: what a download and `lost` say, and the device of a new backend. */
  loseDevice(): Promise<string[]>
}

/** Checks with a fixture. */
export interface Verdict {
  readonly checks: number
  readonly wrong: readonly string[]
}

let session: ConformanceSession | undefined
/** One for all models: what it has compiled stays compiled. */
let models: Promise<WebgpuModelBackend> | undefined

const page: BrowserPage = {
  async open() {
    try {
      session = await ConformanceSession.open(() => webgpu())
      return { device: session.backend.device }
    } catch (error) {
      return { unavailable: textOf(error) }
    }
  },

  async runCase(name) {
    const found = conformanceCases().find((each) => each.name === name)
    if (!session || !found) throw new Error(`${name} is not a case, or there is no backend`)
    const result = await session.run(found)
    return { outcome: result.outcome, text: failureText(result) }
  },

  async verifyModel(address) {
    models ??= webgpu()
    const findings = await verifyModelFixture(filesAt(address), await models)
    return { checks: findings.length, wrong: findings.filter(({ ok }) => !ok).map((finding) => JSON.stringify(finding)) }
  },

  async train() {
    models ??= webgpu()
    return trainTinyModel(await models)
  },

  async loseDevice() {
    const backend = await webgpu()
    const tensor = backend.memory.upload(Float32Array.of(1, 2), [2])
    backend.gpuDevice.destroy()
    const download = await backend.memory.download(tensor).then(() => 'read', textOf)
    const lost = textOf(await backend.lost)
    backend.dispose()
    const next = await webgpu()
    const { device } = next
    next.dispose()
    return [download, lost, device]
  },
}

/** A model folder on the server. */
function filesAt(label: string): ModelFiles {
  const files = new Map<string, Promise<Uint8Array | undefined>>()
  const whole = (name: string) => {
    const known = files.get(name) ?? bytesOf(`${label}/${name}`).catch(() => undefined)
    files.set(name, known)
    return known
  }
  return {
    label,
    size: async (name) => (await whole(name))?.byteLength,
    read: async (name, begin, end) => ((await whole(name)) ?? new Uint8Array()).slice(begin, end),
    close: async () => {},
  }
}

/** @throws Error where the server answers with a page, as it does for everything that it does not have */
async function bytesOf(address: string): Promise<Uint8Array> {
  const response = await fetch(address)
  if (response.headers.get('content-type')) throw new Error(`there is no ${address}`)
  return new Uint8Array(await response.arrayBuffer())
}

function textOf(error: unknown): string {
  return error instanceof Error ? `${(error as { code?: string }).code}: ${error.message}` : String(error)
}

Object.assign(globalThis, { browserPage: page })
