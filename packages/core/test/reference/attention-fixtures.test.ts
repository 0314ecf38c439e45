import { afterEach, describe, expect, test } from 'vitest'
import { branchWeights, type ModelBackend, poolingWeights, reference, type TokenWeights, uploadLayout } from '../../src/index.js'
import { type AttentionFixture, fixtureNames, readFixture } from './attention-fixture.js'
import { expectClose } from './close.js'

let backend: ModelBackend
afterEach(() => backend.dispose())

/** The fixture's tensors on a fresh reference backend in f64. */
async function prepare(name: string) {
  backend = await reference()
  const fixture = readFixture(name)
  const { spec, layout: packed } = fixture
  const upload = (tensor: string, heads: number) => backend.memory.upload(fixture.reals(tensor), [packed.totalTokens, heads, spec.headDim])
  const layout = uploadLayout(backend.memory, packed)
  const [q, k, v] = [upload('q', spec.heads), upload('k', spec.kvHeads), upload('v', spec.kvHeads)]
  const weights = fixtureWeights(fixture)
  const selected = backend.memory.upload(fixture.integers('selected'), [spec.kvHeads, packed.totalTokens, spec.topK])
  return { fixture, spec, layout, q, k, v, weights, selected, dOut: upload('do', spec.heads) }
}

function fixtureWeights({ lambda, punctuation, layout, spec }: AttentionFixture): TokenWeights {
  const { memory } = backend
  const shape = [layout.totalTokens]
  if (typeof lambda === 'number') {
    return { kind: 'fused', weights: memory.upload(poolingWeights(punctuation, layout, lambda, spec.representatives), shape) }
  }
  return branchesOf({ punctuation, layout, spec }, lambda)
}

function branchesOf(
  { punctuation, layout, spec }: Pick<AttentionFixture, 'punctuation' | 'layout' | 'spec'>,
  lambda: Float64Array,
): TokenWeights {
  const { memory } = backend
  const branches = branchWeights(punctuation, layout, spec.representatives)
  return {
    kind: 'branches',
    global: memory.upload(branches.global, [layout.totalTokens]),
    punctuation: memory.upload(branches.punctuation, [layout.totalTokens]),
    lambda: memory.upload(lambda, [spec.kvHeads]),
  }
}

describe.each(fixtureNames)('fixture %s', (name) => {
  test('representatives and selection', async () => {
    const { fixture, q, k, weights, layout, spec } = await prepare(name)
    const reps = backend.attention.poolBlocks({ k, weights, layout, spec })
    expectClose(await backend.memory.download(reps), fixture.reals('reps'))
    const selected = backend.attention.selectBlocks({ q, reps, layout, spec })
    expect(await backend.memory.download(selected)).toEqual(fixture.integers('selected'))
  })

  test('attention and its gradients', async () => {
    const { fixture, dOut, weights: _, ...input } = await prepare(name)
    const { out, lse } = backend.attention.attend(input)
    expectClose(await backend.memory.download(out), fixture.reals('out'))
    expectClose(await backend.memory.download(lse), fixture.reals('lse'))
    const { dq, dk, dv } = backend.attention.attendBackward({ ...input, out, lse, dOut })
    expectClose(await backend.memory.download(dq), fixture.reals('dq'))
    expectClose(await backend.memory.download(dk), fixture.reals('dk'))
    expectClose(await backend.memory.download(dv), fixture.reals('dv'))
  })
})

describe.each(fixtureNames.filter((name) => readFixture(name).has('distil.loss')))('fixture %s', (name) => {
  test('block distillation and its gradients', async () => {
    const { fixture, q, k, layout, spec } = await prepare(name)
    const { memory, attention } = backend
    const lambda = typeof fixture.lambda === 'number' ? new Float64Array(spec.kvHeads).fill(fixture.lambda) : fixture.lambda
    const weights = branchesOf(fixture, lambda)
    const positions = fixture.integers('distil.positions')
    const rows = memory.upload(positions, [positions.length])
    const mass = attention.blockMass({ q, k, rows, layout, spec })
    const reps = attention.poolBlocks({ k, weights, layout, spec })
    const dq = memory.alloc(q.shape, 'f64')
    const dk = memory.alloc(k.shape, 'f64')
    const dLambda = memory.alloc([spec.kvHeads], 'f64')
    const { loss, dReps } = attention.selectionLossBackward({ q, reps, mass, rows, layout, spec, coefficient: 1, dq })
    attention.poolBlocksBackward({ k, weights, dReps, layout, spec, dk, dLambda })

    expectClose(await memory.download(loss), fixture.reals('distil.loss'))
    expect(await memory.download(attention.selectionLoss({ q, reps, mass, rows, layout, spec }))).toEqual(await memory.download(loss))
    expectClose(await memory.download(dq), fixture.reals('distil.dq'))
    expectClose(await memory.download(dk), fixture.reals('distil.dk'))
    const byHead = Array.from(await memory.download(dLambda))
    const expected = fixture.reals('distil.dlambda')
    // One lambda for all heads has the sum of their gradients.
    expectClose(expected.length === 1 ? [byHead.reduce((sum, part) => sum + part, 0)] : byHead, expected, 1e-5)
  })
})
