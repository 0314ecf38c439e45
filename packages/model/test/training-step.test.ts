import { POLICY_NAMES, phsaConfig, phsaPolicy, selectionPolicy, type Tensor } from '@phsa/core'
import { expect, test, vi } from 'vitest'
import { DecoderModel, nextTokenBatch, tokenBatch } from '../src/index.js'
import { testedBackends } from './backends.js'
import { punctuationOf, randomIds, relativeError, sparsePhsa, tinyConfig, tinyModel } from './tiny-model.js'

const choice = { policy: phsaPolicy, phsa: sparsePhsa }
const distillation = { coefficient: 0.5, rows: Int32Array.of(20, 30, 50) }

function batchOf(sequences: Int32Array[]) {
  const batch = nextTokenBatch(sequences)
  return { ...batch, punctuation: punctuationOf(batch.ids) }
}

for (const { name, create } of testedBackends) {
  test(`${name}: packed sequences equal separate ones`, async () => {
    const backend = await create()
    const model = await tinyModel(backend)
    const sequences = [randomIds(41, 5), randomIds(1, 6), randomIds(23, 7)]
    const logits = async (parts: Int32Array[]) => {
      const batch = tokenBatch(parts)
      return backend.memory.download(model.logits({ ...batch, punctuation: punctuationOf(batch.ids) }, choice))
    }
    const packed = await logits(sequences)
    let start = 0
    for (const sequence of sequences) {
      const end = start + sequence.length * tinyConfig.vocabSize
      expect(relativeError(packed.slice(start, end), await logits([sequence]))).toBeLessThan(1e-5)
      start = end
    }
    backend.dispose()
  })

  test(`${name}: a step leaves nothing behind but its losses, and gradients add up`, async () => {
    const backend = await create()
    const model = await tinyModel(backend)
    const { memory } = backend
    const batch = batchOf([randomIds(51, 8)])
    const gradients = model.allocGradients()
    const before = memory.usage()
    const download = async () =>
      new Map(await Promise.all([...gradients].map(async ([key, tensor]) => [key, await memory.download(tensor)] as const)))
    const step = () => {
      const { loss, tokenLosses, distillationLoss } = model.lossAndGradients(batch, choice, gradients, distillation)
      for (const tensor of [loss, tokenLosses, distillationLoss as Tensor]) tensor.dispose()
    }
    step()
    expect(memory.usage()).toEqual(before)
    const once = await download()
    step()
    for (const [key, twice] of await download()) {
      expect(
        relativeError(
          twice,
          once.get(key)!.map((element: number) => 2 * element),
        ),
        key,
      ).toBeLessThan(1e-5)
    }
    expect(memory.usage()).toEqual(before)
    memory.scope(() => void model.attentionInputs(batch, choice))
    memory.scope(() => void model.loss(batch, choice))
    expect(memory.usage()).toEqual(before)
    backend.dispose()
  })

  // Blocks drawn at random would differ if they were chosen again with the activations.
  test.each(POLICY_NAMES)(`${name}: computing activations again gives the same gradients in less memory, %s`, async (policy) => {
    const backend = await create()
    const batch = batchOf([randomIds(30, 2), randomIds(21, 9)])
    // InfLLM v2 has blocks of 16 at least.
    const phsa = phsaConfig(policy === 'infllm-v2' ? { blockSize: 16, initTokens: 0, localTokens: 16, topK: 1 } : {}, sparsePhsa)
    const results = []
    const peaks: number[] = []
    for (const recompute of [false, true]) {
      const model = await tinyModel(backend, { recompute, phsa })
      const gradients = model.allocGradients()
      const { memory, ops } = backend
      const before = memory.usage()
      // All layers are done and none of them has been walked back yet.
      const spy = vi.spyOn(ops, 'crossEntropyBackward')
      spy.mockImplementationOnce((...parts) => {
        peaks.push(memory.usage().bytes - before.bytes)
        return ops.crossEntropyBackward(...parts)
      })
      memory.scope(() => void model.lossAndGradients(batch, { policy: selectionPolicy(policy), phsa }, gradients, distillation))
      spy.mockRestore()
      expect(memory.usage().tensors).toBe(before.tensors)
      results.push(await Promise.all([...gradients.values()].map((tensor) => memory.download(tensor))))
    }
    expect(results[1]).toEqual(results[0])
    expect(peaks[1]).toBeLessThan(peaks[0] / 3)
    backend.dispose()
  })
}

test('a bf16 model computes the f32 loss up to its precision, with f32 gradients', async () => {
  const backend = await testedBackends[0].create()
  const batch = batchOf([randomIds(40, 2)])
  const [wide, narrow] = await Promise.all(
    (['f32', 'bf16'] as const).map(async (dtype) => {
      const model = await tinyModel(backend, { dtype })
      const gradients = model.allocGradients()
      const { loss } = model.lossAndGradients(batch, choice, gradients)
      const down = gradients.get('model.layers.2.mlp.down_proj.weight')!
      expect(down.dtype).toBe('f32')
      return { loss: await backend.memory.download(loss), down: await backend.memory.download(down) }
    }),
  )
  expect(relativeError(narrow.loss, wide.loss)).toBeLessThan(0.02)
  expect(relativeError(narrow.down, wide.down)).toBeLessThan(0.2)
  backend.dispose()
})

test('a failed step frees what it made and says what is wrong', async () => {
  const backend = await testedBackends[0].create()
  const model = await tinyModel(backend)
  const gradients = model.allocGradients()
  const before = backend.memory.usage()
  const batch = batchOf([randomIds(10)])
  expect(() => model.lossAndGradients({ ...batch, targets: batch.targets.fill(99) }, choice, gradients)).toThrow(/targets\[0\] is 99/)
  expect(() => model.lossAndGradients({ ...batch, weights: new Float32Array(3) }, choice, gradients)).toThrow(
    /10 ids, 10 targets and 3 weights/,
  )
  expect(() => model.lossAndGradients(batch, choice, new Map())).toThrow(/no tensor for model.embed_tokens.weight/)
  const wrongLayer = { policy: phsaPolicy, phsa: { ...sparsePhsa, denseLayers: [3] } }
  expect(() => model.loss(batch, wrongLayer)).toThrow(/denseLayers has 3; this model has layers 0 to 2/)
  expect(backend.memory.usage()).toEqual(before)
  backend.dispose()
})

test('sequences past the first rotary table work, and reservePositions makes it larger for good', async () => {
  const backend = await testedBackends[0].create()
  const config = { ...tinyConfig, layers: 1, maxPositions: 4200 }
  const model = DecoderModel.create({ config, backend, phsa: sparsePhsa, seed: 1 })
  const before = backend.memory.usage()
  const positions = 4100
  const temporary = backend.memory.scope(() => model.ropeFor(positions).cos.shape[0])
  expect(temporary).toBe(positions)
  expect(backend.memory.usage()).toEqual(before)
  model.reservePositions(positions)
  expect(model.ropeFor(1).cos.shape[0]).toBe(positions)
  expect(() => model.reservePositions(4201)).toThrow(/takes at most 4200/)
  model.dispose()
  expect(backend.memory.usage().tensors).toBe(0)
  backend.dispose()
})

test('fresh weights follow the seed', async () => {
  const backend = await testedBackends[0].create()
  const weights = async (seed: number) => {
    const model = DecoderModel.create({ config: tinyConfig, backend, phsa: sparsePhsa, seed })
    return Array.from(await backend.memory.download(model.parameters.get('model.layers.0.self_attn.o_proj.weight')!))
  }
  const first = await weights(1)
  expect(await weights(1)).toEqual(first)
  expect(await weights(2)).not.toEqual(first)
  const deviation = Math.sqrt(first.reduce((sum, value) => sum + value * value, 0) / first.length)
  expect(deviation).toBeCloseTo(0.02 / Math.sqrt(6), 3)
  backend.dispose()
})
