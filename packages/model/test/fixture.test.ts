import { fileURLToPath } from 'node:url'
import { parseSafetensors } from '@phsa/core'
import { expect, test } from 'vitest'
import { folderFiles, type ModelFiles, verifyModelFixture } from '../src/index.js'
import { testedBackends } from './backends.js'

const fixture = fileURLToPath(new URL('../../../fixtures/models/qwen3-tiny', import.meta.url))

for (const { name, create } of testedBackends) {
  test(`qwen3-tiny equals transformers on ${name}: logits, loss, every gradient and greedy ids, dense and PHSA (spec 11)`, async () => {
    const backend = await create()
    try {
      const before = backend.memory.usage()
      const findings = await verifyModelFixture(fixture, backend)
      expect(findings.filter(({ ok }) => !ok)).toEqual([])
      // Both paths: logits, loss, ids and the gradients of 3 layers of 11 parameters, embedding and final norm.
      expect(findings).toHaveLength(2 * (3 + 3 * 11 + 2))
      expect(backend.memory.usage()).toEqual(before)
    } finally {
      backend.dispose()
    }
  })
}

test('in bf16 everything is within wider bounds, and the greedy ids are the same', async () => {
  const backend = await testedBackends[0].create()
  const findings = await verifyModelFixture(fixture, backend, 'bf16')
  expect(findings.filter(({ ok }) => !ok)).toEqual([])
  expect(findings.find(({ name }) => name === 'dense: logits')?.bound).toBe(5e-2)
  expect(Math.max(...findings.map(({ error }) => error))).toBeGreaterThan(1e-3)
  backend.dispose()
})

/** The fixture with some expected tensors off by one part in a thousand. */
async function withErrorsIn(names: string[]): Promise<ModelFiles> {
  const files = await folderFiles(fixture)
  return {
    ...files,
    async read(name, begin, end) {
      const bytes = await files.read(name, begin, end)
      if (name !== 'reference.safetensors') return bytes
      const { entries } = parseSafetensors(bytes)
      for (const entry of names.map((wrong) => entries.get(wrong)!)) {
        const view = new DataView(bytes.buffer)
        for (let at = entry.begin; at < entry.end; at += 4) {
          if (entry.type === 'F32') view.setFloat32(at, view.getFloat32(at, true) * 1.001, true)
          else view.setInt32(at, view.getInt32(at, true) ^ 1, true)
        }
      }
      return bytes
    },
  }
}

test('the check finds what is wrong, and only that', async () => {
  const backend = await testedBackends[0].create()
  const wrong = ['loss', 'grad.model.layers.1.self_attn.k_norm.weight']
  const files = await withErrorsIn(wrong)
  const findings = await verifyModelFixture(files, backend)
  const failed = findings.filter(({ ok }) => !ok)
  expect(failed.map(({ name }) => name)).toEqual(['dense', 'phsa'].flatMap((path) => wrong.map((name) => `${path}: ${name}`)))
  for (const { error } of failed) expect(error).toBeCloseTo(0.001, 4)
  await files.close()
  backend.dispose()
})

test('other greedy ids are counted', async () => {
  const backend = await testedBackends[0].create()
  const files = await withErrorsIn(['generated'])
  const findings = await verifyModelFixture(files, backend)
  for (const { ok, error } of findings.filter(({ name }) => name.endsWith('generated'))) {
    expect(ok).toBe(false)
    expect(error).toBeGreaterThan(16)
  }
  await files.close()
  backend.dispose()
})

test.each(['input_ids', 'generated'])('an id out of range in %s is reported with its file', async (name) => {
  const backend = await testedBackends[0].create()
  const files = await folderFiles(fixture)
  const damaged: ModelFiles = {
    ...files,
    async read(file, begin, end) {
      const bytes = await files.read(file, begin, end)
      const entry = file === 'reference.safetensors' && parseSafetensors(bytes).entries.get(name)
      if (entry) new DataView(bytes.buffer, bytes.byteOffset).setInt32(entry.begin + 4, 1_000_000, true)
      return bytes
    },
  }
  const before = backend.memory.usage()
  await expect(verifyModelFixture(damaged, backend)).rejects.toThrow(
    new RegExp(`qwen3-tiny/reference.safetensors: ${name}\\[0, 1\\] is 1000000`),
  )
  expect(backend.memory.usage()).toEqual(before)
  await files.close()
  backend.dispose()
})

test('a folder without reference results is no fixture', async () => {
  const backend = await testedBackends[0].create()
  const folder = fileURLToPath(new URL('.', import.meta.url))
  await expect(verifyModelFixture(folder, backend)).rejects.toThrow(/there is no reference.safetensors to compare with/)
  backend.dispose()
})
