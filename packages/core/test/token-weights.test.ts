import { describe, expect, test } from 'vitest'
import { branchWeights, PackedLayout, PHSA_4K, phsaConfig, poolingWeights, uploadTokenWeights } from '../src/index.js'
import { elements, hostBackend } from './host-backend.js'

const layout = new PackedLayout([20, 3], 16)
const punctuation = Uint8Array.from({ length: 23 }, (_, token) => (token % 5 === 0 ? 1 : 0))
const heads = { layers: 2, kvHeads: 2 }

describe('uploadTokenWeights', () => {
  test('one lambda: one fused tensor for all layers', () => {
    const { memory } = hostBackend()
    const weights = uploadTokenWeights(memory, phsaConfig({ representatives: 2 }), heads, punctuation, layout)
    const [first, second] = [weights.forLayer(0), weights.forLayer(1)]
    if (first.kind !== 'fused' || second.kind !== 'fused') throw new Error('one lambda must give fused weights')
    expect(first.weights).toBe(second.weights)
    expect(elements(memory, first.weights)).toEqual([...poolingWeights(punctuation, layout, PHSA_4K.lambda as number, 2)])
    weights.dispose()
    expect(memory.usage().tensors).toBe(0)
  })

  test('a lambda per head: shared branches and a lambda a layer', () => {
    const { memory } = hostBackend()
    const config = phsaConfig({
      lambda: [
        [0, 1],
        [0.25, 0.5],
      ],
    })
    const weights = uploadTokenWeights(memory, config, heads, punctuation, layout)
    const [first, second] = [weights.forLayer(0), weights.forLayer(1)]
    if (first.kind !== 'branches' || second.kind !== 'branches') throw new Error('a lambda per head must give branches')
    const branches = branchWeights(punctuation, layout)
    expect(first.global).toBe(second.global)
    expect(elements(memory, first.global)).toEqual([...branches.global])
    expect(elements(memory, first.punctuation)).toEqual([...branches.punctuation])
    expect(elements(memory, first.lambda)).toEqual([0, 1])
    expect(elements(memory, second.lambda)).toEqual([0.25, 0.5])
    weights.dispose()
    expect(memory.usage().tensors).toBe(0)
  })

  test('a learned lambda stays with its owner', () => {
    const { memory } = hostBackend()
    const learned = [0, 1].map(() => memory.upload(Float32Array.of(0.5, 0.5), [2]))
    const weights = uploadTokenWeights(memory, PHSA_4K, heads, punctuation, layout, learned)
    expect(weights.forLayer(1)).toMatchObject({ kind: 'branches', lambda: learned[1] })
    weights.dispose()
    expect(memory.usage().tensors).toBe(2)
  })

  test('a lambda that does not fit the model leaves nothing behind', () => {
    const { memory } = hostBackend()
    const config = phsaConfig({ lambda: [[0.5, 0.5]] })
    expect(() => uploadTokenWeights(memory, config, heads, punctuation, layout)).toThrow('lambda has no values for layer 1')
    expect(memory.usage().tensors).toBe(0)
  })
})
