// One call of PHSA attention in a web page, and its time.
//
//   npm install && npm run build && npx vite examples/browser-attention
import { attentionSpec, PackedLayout, PHSA_32K, phsaAttention, poolingWeights, uploadLayout } from '@phsa/core'
import { webgpu } from '@phsa/kernels-webgpu'

/** Tokens: `?tokens=32768` in the address for more. */
const tokens = Number(new URLSearchParams(location.search).get('tokens') ?? 4096)
const report = document.querySelector('#report') as HTMLElement

async function attend(): Promise<string> {
  const backend = await webgpu({ powerPreference: 'high-performance' })
  const { memory } = backend
  const spec = attentionSpec(PHSA_32K, { heads: 8, kvHeads: 4, headDim: 64, dtype: 'f32' })
  const packed = new PackedLayout([tokens], spec.blockSize)
  const random = (heads: number) =>
    memory.upload(
      Float32Array.from({ length: tokens * heads * spec.headDim }, () => Math.random() - 0.5),
      [tokens, heads, spec.headDim],
    )
  // Every twelfth token ends a clause.
  const punctuation = Uint8Array.from({ length: tokens }, (_, token) => (token % 12 === 11 ? 1 : 0))
  const weights = { kind: 'fused' as const, weights: memory.upload(poolingWeights(punctuation, packed, 0.5), [tokens]) }
  const [q, k, v] = [random(spec.heads), random(spec.kvHeads), random(spec.kvHeads)]
  const call = () => phsaAttention(backend, { q, k, v, weights, layout: uploadLayout(memory, packed), spec })

  // The first call compiles the kernels.
  await memory.download(call().lse)
  const started = performance.now()
  const { out, lse } = call()
  await memory.download(lse)
  const milliseconds = performance.now() - started
  const [first] = await memory.download(out)
  backend.dispose()
  return `${backend.device}\n${tokens} tokens in ${milliseconds.toFixed(1)} ms; the first number is ${first.toFixed(6)}`
}

report.textContent = await attend().catch((error: Error) => `failed: ${error.message}`)
