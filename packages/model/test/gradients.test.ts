import {
  densePolicy,
  type HostArray,
  type ModelBackend,
  meanPoolPolicy,
  phsaPolicy,
  punctuationOnlyPolicy,
  RandomStream,
  reference,
} from '@phsa/core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type AttentionChoice, type DecoderModel, type DistillationChoice, nextTokenBatch, type TrainingBatch } from '../src/index.js'
import { punctuationOf, randomIds, sparsePhsa, tinyConfig, tinyModel } from './tiny-model.js'

// In float64 the difference quotient at this step is good to about 2e-7 here (its truncation error), so the bound is far below any wrong term.
const STEP = 1e-5
const BOUND = 1e-6

let backend: ModelBackend
beforeAll(async () => {
  backend = await reference()
})
afterAll(() => backend.dispose())

function trainingBatch(): TrainingBatch {
  const sequences = [randomIds(37, 3), randomIds(5, 4)]
  const batch = nextTokenBatch(sequences)
  return { ...batch, punctuation: punctuationOf(batch.ids) }
}

async function value(run: () => import('@phsa/core').Tensor): Promise<number> {
  const tensor = backend.memory.scope(run)
  const [result] = await backend.memory.download(tensor)
  tensor.dispose()
  return result
}

/** Compares each parameter's gradient with the change of the objective along a random direction. */
async function expectGradients(
  model: DecoderModel,
  gradients: ReadonlyMap<string, HostArray>,
  objective: () => Promise<number>,
): Promise<void> {
  const random = new RandomStream(11)
  for (const [name, tensor] of model.parameters) {
    const start = (await backend.memory.download(tensor)) as Float64Array
    const direction = start.map(() => random.normal())
    const at = async (step: number) => {
      backend.memory.write(
        tensor,
        start.map((element, index) => element + step * direction[index]),
      )
      return objective()
    }
    const numeric = ((await at(STEP)) - (await at(-STEP))) / (2 * STEP)
    backend.memory.write(tensor, start)
    const gradient = gradients.get(name)!
    const analytic = direction.reduce((sum, part, index) => sum + part * gradient[index], 0)
    const scale = Math.hypot(...(gradient as Float64Array)) * Math.sqrt(gradient.length)
    expect(Math.abs(numeric - analytic) / Math.max(Math.abs(analytic), 0.05 * scale), name).toBeLessThan(BOUND)
  }
}

async function gradientsOf(model: DecoderModel, batch: TrainingBatch, choice: AttentionChoice, distillation?: DistillationChoice) {
  const gradients = model.allocGradients()
  const { loss, tokenLosses, distillationLoss } = model.lossAndGradients(batch, choice, gradients, distillation)
  const onHost = new Map<string, HostArray>()
  for (const [name, tensor] of gradients) onHost.set(name, await backend.memory.download(tensor))
  const losses = {
    loss: (await backend.memory.download(loss))[0],
    distillationLoss: distillationLoss && (await backend.memory.download(distillationLoss))[0],
  }
  for (const tensor of [...gradients.values(), loss, tokenLosses, ...(distillationLoss ? [distillationLoss] : [])]) tensor.dispose()
  return { gradients: onHost, ...losses }
}

const choices: [string, AttentionChoice][] = [
  ['dense', { policy: densePolicy, phsa: sparsePhsa }],
  ['sparse', { policy: phsaPolicy, phsa: sparsePhsa }],
  [
    'mixed layers and lambda per head',
    {
      policy: phsaPolicy,
      phsa: {
        ...sparsePhsa,
        denseLayers: [1],
        representatives: 2,
        lambda: [
          [0, 1],
          [0.5, 0.2],
          [0.3, 0.9],
        ],
      },
    },
  ],
]

for (const [name, choice] of choices) {
  for (const tieWordEmbeddings of choice.policy === densePolicy ? [true, false] : [true]) {
    test(`gradients are those of the loss: ${name}, ${tieWordEmbeddings ? 'tied' : 'untied'} head`, async () => {
      const model = await tinyModel(backend, { config: { ...tinyConfig, tieWordEmbeddings }, dtype: 'f64' })
      const batch = trainingBatch()
      const { gradients, loss } = await gradientsOf(model, batch, choice)
      const objective = () => value(() => model.loss(batch, choice).loss)
      expect(loss).toBe(await objective())
      await expectGradients(model, gradients, objective)
      model.dispose()
    })
  }
}

test('gradients are those of the loss under YaRN, whose tables are no rotations: the attention factor is in them', async () => {
  const ropeScaling = { type: 'yarn', factor: 4, originalMaxPositions: 64, attentionFactor: 1.7 } as const
  const model = await tinyModel(backend, { config: { ...tinyConfig, ropeScaling }, dtype: 'f64' })
  const [, sparse] = choices[1]
  const batch = trainingBatch()
  const { gradients, loss } = await gradientsOf(model, batch, sparse)
  const objective = () => value(() => model.loss(batch, sparse).loss)
  expect(loss).toBe(await objective())
  await expectGradients(model, gradients, objective)
  model.dispose()
})

test('distillation: gradients of its loss with the teacher held fixed reach every layer below', async () => {
  const model = await tinyModel(backend, { dtype: 'f64' })
  const batch = trainingBatch()
  const choice: AttentionChoice = { policy: phsaPolicy, phsa: { ...sparsePhsa, denseLayers: [1] } }
  const distillation = { coefficient: 0.7, rows: Int32Array.of(20, 25, 33, 36) }
  const { attention, memory } = backend
  const rows = memory.upload(distillation.rows, [distillation.rows.length])
  const sparseLayers = () => model.attentionInputs(batch, choice).filter(({ selected }) => selected !== undefined)
  const teachers = memory.scope(() => sparseLayers().map((layer) => attention.blockMass({ ...layer, rows })))
  const distilled = () =>
    value(() => {
      const losses = sparseLayers().map((layer, index) => {
        const reps = attention.poolBlocks(layer)
        return attention.selectionLoss({ ...layer, reps, mass: teachers[index], rows })
      })
      return backend.ops.add(losses[0], losses[1])
    })
  const objective = async () => (await value(() => model.loss(batch, choice).loss)) + (distillation.coefficient * (await distilled())) / 2

  const { gradients, distillationLoss } = await gradientsOf(model, batch, choice, distillation)
  expect(distillationLoss).toBeCloseTo((await distilled()) / 2, 12)
  await expectGradients(model, gradients, objective)

  // Only the projections of queries and keys are taught in the last layer.
  const { gradients: plain } = await gradientsOf(model, batch, choice)
  const changed = [...gradients].filter(([name, gradient]) => gradient.some((element, index) => element !== plain.get(name)![index]))
  const last = changed.map(([name]) => name).filter((name) => name.startsWith('model.layers.2.'))
  expect(last.sort()).toEqual(
    ['input_layernorm', 'self_attn.k_norm', 'self_attn.k_proj', 'self_attn.q_norm', 'self_attn.q_proj'].map(
      (part) => `model.layers.2.${part}.weight`,
    ),
  )
  for (const tensor of [rows, ...teachers]) tensor.dispose()
  model.dispose()
})

test('distillation has no loss where every layer is dense', async () => {
  const model = await tinyModel(backend, { dtype: 'f64' })
  const distillation = { coefficient: 1, rows: Int32Array.of(30) }
  const { distillationLoss } = await gradientsOf(model, trainingBatch(), { policy: densePolicy, phsa: sparsePhsa }, distillation)
  expect(distillationLoss).toBeUndefined()
  model.dispose()
})

test('distillation: the gradient of a learned lambda is that of its loss, and dense layers leave theirs alone', async () => {
  const model = await tinyModel(backend, { dtype: 'f64' })
  const { memory, attention } = backend
  const { layers, kvHeads } = model.config
  const batch = trainingBatch()
  const start = Array.from({ length: layers }, (_, layer) =>
    Float64Array.from({ length: kvHeads }, (_, head) => 0.3 + 0.2 * layer - 0.1 * head),
  )
  const lambda = start.map((row) => memory.upload(row, [kvHeads]))
  // Everything is selected, so that the layers above do not change with the blocks that lambda chooses.
  const choice: AttentionChoice = { policy: phsaPolicy, phsa: { ...sparsePhsa, topK: 12, denseLayers: [1] }, lambda }
  const distillation = { coefficient: 0.7, rows: Int32Array.of(20, 25, 33, 36) }
  const rows = memory.upload(distillation.rows, [4])
  const objective = () =>
    value(() => {
      const losses = model
        .attentionInputs(batch, choice)
        .filter(({ selected }) => selected !== undefined)
        .map((layer) => {
          const reps = attention.poolBlocks(layer)
          return attention.selectionLoss({ ...layer, reps, mass: attention.blockMass({ ...layer, rows }), rows })
        })
      return backend.ops.add(losses[0], losses[1])
    })
  const dLambda = start.map(() => memory.alloc([kvHeads], 'f64'))
  await gradientsOf(model, batch, choice, { ...distillation, dLambda })
  for (const [layer, row] of start.entries()) {
    const gradient = await memory.download(dLambda[layer])
    for (let head = 0; head < kvHeads; head++) {
      const at = async (step: number) => {
        memory.write(
          lambda[layer],
          Float64Array.from(row, (old, index) => (index === head ? old + step : old)),
        )
        return objective()
      }
      const numeric = ((await at(STEP)) - (await at(-STEP))) / (2 * STEP)
      memory.write(lambda[layer], row)
      if (layer === 1) expect(gradient[head]).toBe(0)
      else expect(gradient[head] / ((0.7 * numeric) / 2)).toBeCloseTo(1, 6)
    }
  }
  for (const tensor of [...lambda, ...dLambda, rows]) tensor.dispose()
  model.dispose()
})

test('a lambda of its own is refused beside a policy that sets it, and for another number of layers', async () => {
  const model = await tinyModel(backend)
  const lambda = Array.from({ length: model.config.layers }, () => backend.memory.upload(Float32Array.of(0.5, 0.5), [2]))
  for (const policy of [meanPoolPolicy, punctuationOnlyPolicy]) {
    expect(() => model.loss(trainingBatch(), { policy, phsa: sparsePhsa, lambda })).toThrow(`policy ${policy.name} sets it itself`)
  }
  expect(() => model.loss(trainingBatch(), { policy: phsaPolicy, phsa: sparsePhsa, lambda: lambda.slice(1) })).toThrow(
    'lambda has 2 tensors',
  )
  for (const tensor of lambda) tensor.dispose()
  model.dispose()
})
