// Memory of a long forward pass on the tfjs backend: 32,768 tokens, 16/8 heads, D = 128, with keys and queries drawn at random, which is the
// hardest case for it: neighbouring queries then share none of the blocks that they select.
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/tfjs-memory.ts [tokens]
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { attentionSpec, PackedLayout, PHSA_32K, poolingWeights, RandomStream, uploadLayout } from '@phsa/core'
import { tfjs } from '@phsa/kernels-tfjs'

const tokens = Number(process.argv[2] ?? 32_768)
const heads = { heads: 16, kvHeads: 8, headDim: 128, dtype: 'f32' } as const
const spec = attentionSpec({ ...PHSA_32K, topK: 16 }, heads)
const backend = await tfjs({ engine: 'wasm' })
const { attention, memory } = backend
const random = new RandomStream(1)

/** Uniform numbers of variance 1; normal ones would take longer to draw than attention to run. */
function randomRows(count: number) {
  const values = Float32Array.from({ length: tokens * count * spec.headDim }, () => (random.uniform() - 0.5) * Math.sqrt(12))
  return memory.upload(values, [tokens, count, spec.headDim])
}

const packed = new PackedLayout([tokens], spec.blockSize)
const layout = uploadLayout(memory, packed)
const [q, k, v] = [randomRows(spec.heads), randomRows(spec.kvHeads), randomRows(spec.kvHeads)]
const marks = Uint8Array.from({ length: tokens }, () => (random.uniform() < 0.15 ? 1 : 0))
const weights = { kind: 'fused', weights: memory.upload(poolingWeights(marks, packed, 0.5), [tokens]) } as const

const seconds: Record<string, { wall: number; cpu: number }> = {}
function timed<T>(name: string, run: () => T): T {
  const cpu = process.cpuUsage()
  const start = performance.now()
  const result = run()
  const { user, system } = process.cpuUsage(cpu)
  seconds[name] = { wall: (performance.now() - start) / 1e3, cpu: (user + system) / 1e6 }
  return result
}

const reps = timed('pool', () => attention.poolBlocks({ k, weights, layout, spec }))
const selected = timed('select', () => attention.selectBlocks({ q, reps, layout, spec }))
const { out } = timed('attend', () => attention.attend({ q, k, v, selected, layout, spec }))
const values = (await memory.download(out)) as Float32Array
if (!values.every(Number.isFinite)) throw new Error('the output has values that are not finite')

const result = {
  commit: execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8' }).trim(),
  device: backend.device,
  processor: cpus()[0].model,
  node: process.version,
  tokens,
  spec,
  runs: 1,
  seconds,
  tensorMegabytes: Math.round(memory.usage().bytes / 1e6),
  peakMegabytes: Math.round(process.resourceUsage().maxRSS / 1e3),
}
const folder = new URL('results/', import.meta.url)
mkdirSync(folder, { recursive: true })
writeFileSync(new URL('tfjs-memory.json', folder), `${JSON.stringify(result, null, 2)}\n`)
console.log(result)
