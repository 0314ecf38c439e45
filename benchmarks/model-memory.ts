// Peak memory of loading and of saving a model: that neither ever holds the file twice. A synthetic model is written to a temporary folder, and a process
// of its own loads it on the reference backend, which keeps weights in host memory as float32, and saves it again. Linux only: the peak is read, and reset
// between both, in /proc.
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/model-memory.ts
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { elementCount, phsaConfig, reference, type SafetensorsDescription, streamSafetensors } from '@phsa/core'
import { type DecoderConfig, decoderConfigJson, loadModel, parameterShapes, saveModel } from '@phsa/model'

const SOURCES = ['packages/core/src', 'packages/model/src', 'benchmarks/model-memory.ts']

const CONFIG: DecoderConfig = {
  vocabSize: 32_000,
  hiddenSize: 1024,
  intermediateSize: 3072,
  layers: 8,
  heads: 16,
  kvHeads: 8,
  headDim: 128,
  rmsNormEpsilon: 1e-6,
  ropeTheta: 1e6,
  maxPositions: 4096,
  tieWordEmbeddings: true,
  eosTokenIds: [],
}

/** What one process measured, in bytes. */
interface Measured {
  readonly tensors: number
  /** Peaks above what the process held before. */
  readonly loading: number
  readonly saving: number
}

const TYPES = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const
type FileType = keyof typeof TYPES

/** Random bits would be slower to make and no different to load. */
async function writeSynthetic(folder: string, type: FileType): Promise<void> {
  const described = new Map<string, SafetensorsDescription>()
  for (const [name, shape] of parameterShapes(CONFIG)) described.set(name, { type: TYPES[type], shape })
  const values = async (name: string) => new Float32Array(elementCount(described.get(name)!.shape)).fill(0.02)
  const handle = await open(join(folder, 'model.safetensors'), 'w')
  for await (const part of streamSafetensors(described, values)) await handle.writeFile(part)
  await handle.close()
  writeFileSync(join(folder, 'config.json'), JSON.stringify(decoderConfigJson(CONFIG, phsaConfig(), type)))
}

function status(entry: 'VmHWM' | 'VmRSS'): number {
  const kilobytes = new RegExp(`${entry}:\\s+(\\d+) kB`).exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  if (kilobytes === undefined) throw new Error(`/proc/self/status has no ${entry}; this benchmark needs Linux`)
  return Number(kilobytes) * 1024
}

/** Peak of a step above what is held when it begins. */
async function peakOf<T>(run: () => Promise<T>): Promise<{ result: T; peak: number }> {
  globalThis.gc?.()
  // 5 resets the peak to what is resident now.
  writeFileSync('/proc/self/clear_refs', '5')
  const before = status('VmRSS')
  const result = await run()
  return { result, peak: status('VmHWM') - before }
}

async function measure(folder: string, type: FileType): Promise<Measured> {
  const backend = await reference()
  const loading = await peakOf(() => loadModel(folder, { backend }))
  const { tensors: _, bytes } = backend.memory.usage()
  const saving = await peakOf(() => saveModel(loading.result.model, join(folder, 'again'), { type, maxShardBytes: 2e8 }))
  return { tensors: bytes, loading: loading.peak, saving: saving.peak }
}

function measureInChild(type: FileType) {
  const folder = mkdtempSync(join(tmpdir(), 'phsa-memory-'))
  return writeSynthetic(folder, type)
    .then(() => {
      const fileBytes = statSync(join(folder, 'model.safetensors')).size
      const options = [...process.execArgv, '--expose-gc', fileURLToPath(import.meta.url), folder, type]
      const measured = JSON.parse(
        execFileSync(process.execPath, options, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }),
      ) as Measured
      const megabytes = (bytes: number) => Math.round(bytes / 1e6)
      const beyondWeights = measured.loading - measured.tensors
      // What the weights take on the backend must be there at the end; the rest is what loading itself holds.
      if (beyondWeights >= fileBytes) throw new Error(`${type}: loading holds ${megabytes(beyondWeights)} MB besides the weights`)
      if (measured.saving >= fileBytes) throw new Error(`${type}: saving holds ${megabytes(measured.saving)} MB`)
      const saved = join(folder, 'again')
      return {
        type,
        fileMegabytes: megabytes(fileBytes),
        weightsOnBackendMegabytes: megabytes(measured.tensors),
        largestTensorMegabytes: megabytes(CONFIG.vocabSize * CONFIG.hiddenSize * 4),
        loading: {
          peakMegabytes: megabytes(measured.loading),
          besidesWeightsMegabytes: megabytes(beyondWeights),
        },
        saving: {
          peakMegabytes: megabytes(measured.saving),
          shards: readdirSync(saved).filter((name) => name.endsWith('.safetensors')).length,
        },
      }
    })
    .finally(() => rmSync(folder, { recursive: true }))
}

async function main(): Promise<void> {
  const [folder, type] = process.argv.slice(2)
  if (folder !== undefined) {
    process.stdout.write(JSON.stringify(await measure(folder, type as FileType)))
    return
  }
  const git = (...command: string[]) => execFileSync('git', command, { encoding: 'utf8' }).trim()
  const runs = []
  for (const type of Object.keys(TYPES) as FileType[]) runs.push(await measureInChild(type))
  const result = {
    commit: git('rev-parse', 'HEAD'),
    uncommitted: git('status', '--porcelain', '--', ...SOURCES) !== '',
    processor: cpus()[0].model,
    node: process.version,
    backend: 'reference: weights as float32 in host memory',
    config: CONFIG,
    runs,
  }
  const target = new URL('results/', import.meta.url)
  mkdirSync(target, { recursive: true })
  writeFileSync(new URL('model-memory.json', target), `${JSON.stringify(result, null, 2)}\n`)
  console.log(JSON.stringify(runs, null, 2))
}

await main()
