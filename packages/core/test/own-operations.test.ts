import { expect, test, vi } from 'vitest'
import { attendStep } from '../src/attend-step.js'
import type { FinishLayerInput, ProjectHeadsInput } from '../src/contract/model-ops.js'
import type { PagedAttention, PagedBatch, PagedCache, PagedTokens } from '../src/contract/paged-attention.js'
import type { Tensor } from '../src/contract/tensor.js'
import { finishLayer, type LayerHost, projectHeads } from '../src/layer-halves.js'
import { ReferenceBackend } from '../src/reference/reference-backend.js'

/** What each call is given and what it gives are only passed on. */
const thing = <T>(name: string) => ({ name }) as T

test('a step of attention is what the backend has for the case, and otherwise its parts in order', () => {
  const [cache, batch] = [thing<PagedCache>('cache'), thing<PagedBatch>('batch')]
  const tokens: PagedTokens = { q: thing('q'), k: thing('k'), v: thing('v'), marks: thing('marks') }
  const calls: unknown[][] = []
  const called = <T>(name: string, result: T) => {
    return (...args: unknown[]) => {
      calls.push([name, ...args])
      return result
    }
  }
  const [selected, attended] = [thing<Tensor>('selected'), { out: thing<Tensor>('out'), lse: thing<Tensor>('lse') }]
  const parts: PagedAttention = {
    createCache: called('createCache', cache),
    append: called('append', undefined),
    selectBlocks: called('selectBlocks', selected),
    attend: called('attend', attended),
  }
  const own = { out: thing<Tensor>('own out'), lse: thing<Tensor>('own lse'), selected: thing<Tensor>('own selected') }
  expect(attendStep({ ...parts, step: called('step', own) }, cache, tokens, batch)).toBe(own)
  expect(calls).toEqual([['step', cache, tokens, batch]])
  const composed = [
    ['append', cache, tokens.k, tokens.v, tokens.marks, batch],
    ['selectBlocks', cache, tokens.q, batch],
    ['attend', cache, tokens.q, selected, batch],
  ]
  for (const step of [undefined, called('step', undefined)]) {
    calls.length = 0
    expect(attendStep({ ...parts, step }, cache, tokens, batch)).toEqual({ ...attended, selected })
    expect(calls.filter(([name]) => name !== 'step')).toEqual(composed)
  }
})

test('halves of a layer are what the backend has for the case, and otherwise leave one tensor a result', () => {
  const { ops, memory } = new ReferenceBackend()
  const make = (...shape: number[]) => memory.alloc(shape, 'f32')
  const x = make(3, 8)
  const rope = { cos: make(4, 2), sin: make(4, 2) }
  const positions = memory.alloc([3], 'i32')
  const norms = { norm: make(8), qNorm: make(4), kNorm: make(4) }
  const heads: ProjectHeadsInput = { ...norms, x, q: make(16, 8), k: make(4, 8), v: make(4, 8), positions, rope, epsilon: 1e-6 }
  const end: FinishLayerInput = {
    x,
    out: make(3, 4, 4),
    o: make(8, 16),
    norm: norms.norm,
    gate: make(6, 8),
    up: make(6, 8),
    down: make(8, 6),
    epsilon: 1e-6,
  }
  const linear = vi.spyOn(ops, 'linear')
  const own = { q: thing<Tensor>('q'), k: thing<Tensor>('k'), v: thing<Tensor>('v') }
  const output = thing<Tensor>('output')
  const whole: LayerHost = { memory, ops: Object.assign(Object.create(ops), { projectHeads: () => own, finishLayer: () => output }) }
  expect(projectHeads(whole, heads)).toBe(own)
  expect(finishLayer(whole, end)).toBe(output)
  expect(linear).not.toHaveBeenCalled()
  const none: LayerHost = {
    memory,
    ops: Object.assign(Object.create(ops), { projectHeads: () => undefined, finishLayer: () => undefined }),
  }
  for (const host of [none, { ops, memory }]) {
    const before = memory.usage().tensors
    const { q, k, v } = projectHeads(host, heads)
    expect([q, k, v].map(({ shape }) => shape)).toEqual([
      [3, 4, 4],
      [3, 1, 4],
      [3, 1, 4],
    ])
    expect(finishLayer(host, end).shape).toEqual([3, 8])
    expect(memory.usage().tensors - before).toBe(4)
  }
})
