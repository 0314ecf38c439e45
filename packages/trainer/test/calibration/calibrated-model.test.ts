import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DType, PackedLayout, phsaConfig, phsaPolicy, reference, type Tensor, uploadTokenWeights } from '@phsa/core'
import { type DecoderConfig, DecoderModel, generate, loadModel, nextTokenBatch, saveModel, tokenBatch } from '@phsa/model'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { saveLambda } from '../../src/calibration/save-lambda.js'
import { heldOutBatches } from '../../src/evaluation/held-out-batches.js'
import { type Calibration, calibrate } from '../../src/index.js'
import { letterData, letterPunctuation, tinyConfig } from '../tiny-model.js'

const config: DecoderConfig = { ...tinyConfig, heads: 4, kvHeads: 2 }
const phsa = phsaConfig({ blockSize: 4, initTokens: 4, localTokens: 8, topK: 2 })
const LAMBDA = [
  [0, 1],
  [1, 0.2],
]
const STORY = 'once, upon a time. there was a king, who had three sons. the eldest was strong, the second clever, the youngest kind. '

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phsa-calibration-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function freshModel(dtype: DType = 'f32'): Promise<DecoderModel> {
  const backend = await reference()
  const model = DecoderModel.create({ config, backend, phsa, seed: 3, dtype })
  // Initial weights attend to everything alike: larger ones have keys of their own.
  for (const tensor of model.parameters.values()) {
    if (tensor.shape.length > 1)
      backend.memory.write(
        tensor,
        (await backend.memory.download(tensor)).map((value: number) => 25 * value),
      )
  }
  return model
}

async function story(): Promise<Int32Array> {
  const [batch] = heldOutBatches(await letterData(STORY), { windows: 1, tokens: 96, punctuation: letterPunctuation })
  return batch.ids
}

async function all(tokens: AsyncIterable<number>): Promise<number[]> {
  const ids: number[] = []
  for await (const id of tokens) ids.push(id)
  return ids
}

test('a model that loads the calibrated configuration chooses blocks with it in prefill, decoding and training', async () => {
  const path = join(folder, 'model')
  await saveModel(await freshModel(), path)
  const before = await readFile(join(path, 'config.json'), 'utf8')
  expect(await saveLambda(path, phsa, LAMBDA)).toBe(join(path, 'config.json'))
  expect(await readFile(join(path, 'config.before-calibration.json'), 'utf8')).toBe(before)

  const { model } = await loadModel(path, { backend: await reference() })
  expect(model.phsa).toEqual({ ...phsa, lambda: LAMBDA })
  const { memory, attention } = model.backend
  const ids = await story()
  const batch = nextTokenBatch([ids], letterPunctuation)
  const packed = new PackedLayout([ids.length], phsa.blockSize)
  const values = async (tensor: Tensor) => Array.from(await memory.download(tensor))

  // Prefill: what each head selects is what one lambda for all would let this head select from the same q and k.
  let layer = 0
  for (const { q, k, selected, weights, layout, spec } of model.attentionLayers(batch)) {
    expect(weights.kind).toBe('branches')
    const own = await values(selected!)
    const perHead = own.length / config.kvHeads
    const choose = (lambda: number) => {
      const fused = uploadTokenWeights(memory, { ...phsa, lambda }, config, batch.punctuation, packed).forLayer(layer)
      return values(attention.selectBlocks({ q, reps: attention.poolBlocks({ k, weights: fused, layout, spec }), layout, spec }))
    }
    for (const [head, lambda] of LAMBDA[layer].entries()) {
      const part = (all: number[]) => all.slice(head * perHead, (head + 1) * perHead)
      expect(part(own)).toEqual(part(await choose(lambda)))
      expect(part(own)).not.toEqual(part(await choose(1 - lambda)))
    }
    layer++
  }

  // Paged decoding: the greedy continuation is that of forwards over all that is before each token, and another with other lambdas.
  const continued = async (lambda: number[][]) => {
    const attention = { policy: phsaPolicy, phsa: { ...phsa, lambda } }
    const options = { maxNewTokens: 12, punctuation: letterPunctuation, attention, stopTokenIds: [] }
    return all(generate(model, ids, options))
  }
  const written = await all(generate(model, ids, { maxNewTokens: 12, punctuation: letterPunctuation, stopTokenIds: [] }))
  const swapped = LAMBDA.map((row) => row.toReversed())
  expect(await continued(swapped)).not.toEqual(written)
  for (const [index, id] of written.entries()) {
    const text = Int32Array.from([...ids, ...written.slice(0, index)])
    const row = await values(model.logits(tokenBatch([text], letterPunctuation), undefined, Int32Array.of(text.length - 1)))
    expect(id).toBe(row.indexOf(Math.max(...row)))
  }

  // Training: the loss of a step is that of a forward with these lambdas, and of no other.
  const lossOf = async (lambda: typeof LAMBDA | number) =>
    (await values(model.loss(batch, { policy: phsaPolicy, phsa: { ...phsa, lambda } }).loss))[0]
  const gradients = model.allocGradients()
  const { loss } = model.lossAndGradients(batch, { policy: phsaPolicy, phsa: model.phsa }, gradients)
  expect((await values(loss))[0]).toBe(await lossOf(LAMBDA))
  for (const other of [0.5, 1, swapped]) expect(await lossOf(other)).not.toBe(await lossOf(LAMBDA))
})

test('with a folder to go to, the model is copied and its own stays as it was', async () => {
  const path = join(folder, 'kept')
  await saveModel(await freshModel(), path)
  const before = await readFile(join(path, 'config.json'), 'utf8')
  const out = join(folder, 'made', 'calibrated')
  await saveLambda(path, phsa, LAMBDA, { out })
  expect(await readFile(join(path, 'config.json'), 'utf8')).toBe(before)
  const { model } = await loadModel(out, { backend: await reference() })
  expect(model.phsa.lambda).toEqual(LAMBDA)
  await expect(saveLambda(path, phsa, LAMBDA, { out })).rejects.toThrow('is there already')
  await writeFile(join(path, 'config.json'), 'no json')
  await expect(saveLambda(path, phsa, LAMBDA)).rejects.toThrow('cannot be read as JSON')
})

async function calibrated(model: DecoderModel, changes = {}): Promise<{ result: Calibration; done: number[] }> {
  const batches = heldOutBatches(await letterData(STORY.repeat(3)), { windows: 4, tokens: 72, punctuation: letterPunctuation })
  const run = calibrate({ model, batches, rows: 12, lambdas: [0, 1], ...changes })
  const done: number[] = []
  for (;;) {
    const next = await run.next()
    if (next.done) return { result: next.value, done }
    done.push(next.value.done / next.value.total)
  }
}

test('calibrates a model on its own dense attention and leaves it as it was', async () => {
  const model = await freshModel()
  model.reconfigure({ denseLayers: [0] })
  const usage = model.backend.memory.usage()
  const { result, done } = await calibrated(model)
  expect(model.backend.memory.usage()).toEqual(usage)
  expect(done.at(-1)).toBe(1)
  expect(done.length).toBe(8)
  expect(result.lambdas).toEqual([0, 0.5, 1])
  // A dense layer keeps what it has.
  expect(result.layers[0]).toBeNull()
  expect(result.lambda[0]).toEqual([0.5, 0.5])
  expect(result.layers[1]!.length).toBe(2)
  expect(result.queries[0] + result.queries[1]).toBe(4 * 12)
  expect(result.settings.map(({ representatives, score }) => `${representatives} ${score}`)).toEqual([
    '1 softmax',
    '1 logit',
    '2 softmax',
    '2 logit',
    '4 softmax',
    '4 logit',
  ])
  expect(result.settings[0].calibrated).toBeCloseTo(result.heldOut.calibrated, 12)
  expect(result.settings[0].recalls[1]).toBeCloseTo(result.heldOut.half, 12)
  expect(result.heldOut.before).toBeCloseTo(result.heldOut.half, 12)
  expect(JSON.parse(JSON.stringify(result))).toEqual(result)
  expect((await calibrated(model)).result).toEqual(result)
})

test('a model of 16 bits gives the same but for its rounding', async () => {
  const [{ result }, { result: rounded }] = [await calibrated(await freshModel()), await calibrated(await freshModel('bf16'))]
  expect(rounded.heldOut.one).toBeCloseTo(result.heldOut.one, 1)
  expect(rounded.heldOut.oracle).toBeCloseTo(result.heldOut.oracle, 1)
  expect(rounded.punctuation.farKeys).toBe(result.punctuation.farKeys)
})

test('says what is wrong before it measures', async () => {
  const model = await freshModel()
  await expect(calibrated(model, { lambdas: [2] })).rejects.toThrow('lambdas is 2')
  await expect(calibrated(model, { representatives: [3] })).rejects.toThrow('divide blockSize')
  await expect(calibrated(model, { topK: 60 })).rejects.toThrow('windows of one half')
  await expect(calibrated(model, { topK: 0 })).rejects.toThrow('topK is 0')
  // Made without a table: every lambda would look as good as any other.
  const bare = Array.from({ length: 4 }, () => tokenBatch([Int32Array.from({ length: 72 }, (_, place) => place % 20)]))
  await expect(calibrated(model, { batches: bare })).rejects.toThrow('no token of the batches is punctuation')
  await expect(calibrated(model, { signal: AbortSignal.abort(new Error('stopped')) })).rejects.toThrow('stopped')
  model.reconfigure({ denseLayers: [0, 1] })
  await expect(calibrated(model)).rejects.toThrow('every layer')
})
