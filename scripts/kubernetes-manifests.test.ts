import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { root } from './command.mjs'
import { typeCheckConsumers } from './consumer-types.js'

/** Where kubernetes-types has the kinds of a group; it is made of the OpenAPI description of Kubernetes 1.30. */
const GROUPS: Readonly<Record<string, string>> = {
  v1: 'core/v1',
  'apps/v1': 'apps/v1',
  'autoscaling/v2': 'autoscaling/v2',
  'batch/v1': 'batch/v1',
  'policy/v1': 'policy/v1',
}

interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly spec: {
    /** Of an InferenceService. */
    readonly predictor: { readonly containers: readonly unknown[] }
    /** Of a LeaderWorkerSet. */
    readonly leaderWorkerTemplate: { readonly workerTemplate: unknown }
  }
}

/** What is Kubernetes' own in the kinds of others, by type of core/v1; the rest of these has no description in a package that is kept up. */
const PARTS: Readonly<Record<string, (manifest: Manifest) => Readonly<Record<string, unknown>>>> = {
  InferenceService: ({ spec }) => ({ Container: spec.predictor.containers[0] }),
  LeaderWorkerSet: ({ spec }) => ({ PodTemplateSpec: spec.leaderWorkerTemplate.workerTemplate }),
  PodMonitor: () => ({}),
}

/** A quantity may be a number, which its description leaves out. */
function quantitiesAsText(key: string, value: unknown): unknown {
  if (key !== 'limits' && key !== 'requests') return value
  return Object.fromEntries(Object.entries(value as object).map(([resource, quantity]) => [resource, String(quantity)]))
}

// Below the packages, so that they are found.
const cache = join(root, 'node_modules/.cache')
mkdirSync(cache, { recursive: true })
const folder = mkdtempSync(join(cache, 'manifests-'))
afterAll(() => rmSync(folder, { recursive: true }))

const examples = join(root, 'examples/kubernetes')
const manifests: Manifest[] = readdirSync(examples, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.yaml'))
  .flatMap((name) => parseAllDocuments(readFileSync(join(examples, name), 'utf8')).map((document) => document.toJS()))

/** Type-checks literals, in which TypeScript refuses fields that there are not. */
function check(values: readonly { readonly module: string; readonly type: string; readonly value: unknown }[]) {
  const lines = values.map(
    ({ module, type, value }, index) =>
      `export const manifest${index}: import('kubernetes-types/${module}.js').${type} = ${JSON.stringify(value, quantitiesAsText)}`,
  )
  writeFileSync(join(folder, 'manifests.mts'), lines.join('\n'))
  return typeCheckConsumers(folder, ['manifests.mts'])
}

test('manifests have the fields and types that Kubernetes describes', async () => {
  const values = manifests.flatMap((manifest) => {
    const { apiVersion, kind } = manifest
    if (GROUPS[apiVersion]) return [{ module: GROUPS[apiVersion], type: kind, value: manifest }]
    return Object.entries(PARTS[kind](manifest)).map(([type, value]) => ({ module: 'core/v1', type, value }))
  })
  expect(values.map(({ type }) => type).sort()).toEqual([
    'Container',
    'Deployment',
    'HorizontalPodAutoscaler',
    'Job',
    'PodDisruptionBudget',
    'PodTemplateSpec',
    'Service',
    'Service',
  ])
  // A wrong one beside them, to see that they are looked at.
  const wrong = JSON.parse(JSON.stringify(values).replace('"parallelism":', '"paralellism":'))
  const { text } = await check([...values, ...wrong])
  expect(text.trim().split('\n')).toEqual([expect.stringContaining("'\"paralellism\"' does not exist in type 'JobSpec'")])
})
