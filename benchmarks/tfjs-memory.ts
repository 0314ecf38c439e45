// Memory and time of one attention layer's part of a training step on the tfjs backend: 32,768 tokens, 16/8 heads, D = 128, topK 16; pooling,
// selection, attention and its backward pass, block masses of 256 query rows, and the selection loss with its gradients. Keys and queries are
// drawn at random, which is the hardest case for it: neighbouring queries then share none of the blocks that they select.
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/tfjs-memory.ts [tokens]
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { attentionSpec, PackedLayout, PHSA_32K, poolingWeights, RandomStream, type Tensor, uploadLayout } from '@phsa/core'
import { tfjs } from '@phsa/kernels-tfjs'

const SOURCES = ['packages/core/src', 'packages/kernels-tfjs/src', 'benchmarks/tfjs-memory.ts']
const SAMPLES = 256

const tokens = Number(process.argv[2] ?? 32_768)
const heads = { heads: 16, kvHeads: 8, headDim: 128, dtype: 'f32' } as const
const spec = attentionSpec({ ...PHSA_32K, topK: 16 }, heads)
const backend = await tfjs({ engine: 'wasm' })
const { attention, memory } = backend
const random = new RandomStream(1)
const commit = git('rev-parse', 'HEAD')
const uncommitted = git('status', '--porcelain', '--', ...SOURCES) !== ''

function git(...command: string[]): string {
  return execFileSync('git', command, { encoding: 'utf8' }).trim()
}

/** Uniform numbers of variance 1; normal ones would take longer to draw than attention to run. */
function randomRows(count: number) {
  const values = Float32Array.from({ length: tokens * count * spec.headDim }, () => (random.uniform() - 0.5) * Math.sqrt(12))
  return memory.upload(values, [tokens, count, spec.headDim])
}

async function checkFinite(name: string, tensor: Tensor) {
  const values = (await memory.download(tensor)) as Float32Array
  if (!values.every(Number.isFinite)) throw new Error(`${name} has values that are not finite`)
}

const seconds: Record<string, { wall: number; cpu: number }> = {}
const peakMegabytes: Record<string, number> = {}
function timed<T>(name: string, run: () => T): T {
  const cpu = process.cpuUsage()
  const start = performance.now()
  const result = run()
  const { user, system } = process.cpuUsage(cpu)
  seconds[name] = { wall: (performance.now() - start) / 1e3, cpu: (user + system) / 1e6 }
  peakMegabytes[name] = Math.round(process.resourceUsage().maxRSS / 1e3)
  console.log(name, seconds[name], peakMegabytes[name])
  return result
}

const packed = new PackedLayout([tokens], spec.blockSize)
const layout = uploadLayout(memory, packed)
const [q, dOut] = [randomRows(spec.heads), randomRows(spec.heads)]
const [k, v] = [randomRows(spec.kvHeads), randomRows(spec.kvHeads)]
const marks = Uint8Array.from({ length: tokens }, () => (random.uniform() < 0.15 ? 1 : 0))
const weights = { kind: 'fused', weights: memory.upload(poolingWeights(marks, packed, 0.5), [tokens]) } as const
// Evenly spread, the last token among them: it sees every key.
const rows = memory.upload(
  Int32Array.from({ length: SAMPLES }, (_, index) => Math.floor(((index + 1) * tokens) / SAMPLES) - 1),
  [SAMPLES],
)

const reps = timed('poolBlocks', () => attention.poolBlocks({ k, weights, layout, spec }))
const selected = timed('selectBlocks', () => attention.selectBlocks({ q, reps, layout, spec }))
const forward = timed('attend', () => attention.attend({ q, k, v, selected, layout, spec }))
const mass = timed('blockMass', () => attention.blockMass({ q, k, rows, layout, spec }))
const { dq, dk, dv } = timed('attendBackward', () => attention.attendBackward({ q, k, v, selected, layout, spec, ...forward, dOut }))
const { loss, dReps } = timed('selectionLossBackward', () =>
  attention.selectionLossBackward({ q, reps, mass, rows, layout, spec, coefficient: 1, dq }),
)
timed('poolBlocksBackward', () => attention.poolBlocksBackward({ k, weights, layout, spec, dReps, dk }))
for (const [name, tensor] of Object.entries({ ...forward, mass, dq, dk, dv, loss })) await checkFinite(name, tensor)

const result = {
  commit,
  // Whether the measured sources differed from the commit.
  uncommitted,
  device: backend.device,
  processor: cpus()[0].model,
  node: process.version,
  tokens,
  sampledRows: SAMPLES,
  spec,
  runs: 1,
  seconds,
  // Largest resident set so far, after each call.
  peakMegabytes,
  tensorMegabytes: Math.round(memory.usage().bytes / 1e6),
}
const folder = new URL('results/', import.meta.url)
mkdirSync(folder, { recursive: true })
writeFileSync(new URL('tfjs-memory.json', folder), `${JSON.stringify(result, null, 2)}\n`)
console.log(result)
