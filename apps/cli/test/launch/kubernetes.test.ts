import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { environmentPlace } from '../../../../packages/kernels-cuda/src/collective/group-place.js'
import { buildProgram } from '../../src/program.js'

interface Container {
  readonly args?: readonly string[]
  readonly command?: readonly string[]
  readonly env: readonly { readonly name: string; readonly value?: string; readonly valueFrom?: unknown }[]
  readonly ports: readonly { readonly containerPort: number }[]
}

const folder = new URL('../../../../examples/kubernetes/', import.meta.url)
const read = (name: string) => readFileSync(new URL(name, folder), 'utf8')

/** The documents of a manifest; a mistake in its YAML fails here. */
function documents(name: string) {
  return parseAllDocuments(read(name)).map((document) => {
    expect(document.errors).toEqual([])
    return document.toJS()
  })
}

/** The variables that a container is given; what the pod says of itself is `ofPod`. */
function variables({ env }: Container, ofPod: string): Record<string, string> {
  return Object.fromEntries(env.map(({ name, value }) => [name, value ?? ofPod]))
}

/** That phsa takes a command line of a manifest. */
function requireOptions(line: readonly string[]): void {
  expect(line.slice(0, 2)).toEqual(['train', '/data/run.yaml'])
  const train = buildProgram().program.commands.find((command) => command.name() === 'train')
  for (const option of line.filter((word) => word.startsWith('--'))) {
    expect(train?.options.map(({ long }) => long)).toContain(option)
  }
}

test('the pods of the Job find their place', () => {
  const [service, job] = documents('indexed-job.yaml')
  const { completionMode, completions, parallelism, template } = job.spec
  expect([completionMode, parallelism]).toEqual(['Indexed', completions])
  const [container] = template.spec.containers as Container[]
  // Kubernetes sets it in each pod.
  const { place, localRank } = environmentPlace({ ...variables(container, ''), JOB_COMPLETION_INDEX: '1' })
  expect([place.rank, place.size, place.port, localRank]).toEqual([1, completions, container.ports[0].containerPort, undefined])
  // The name that the pod of index 0 has by the headless Service.
  expect(place.address).toBe(`${job.metadata.name}-0.${service.metadata.name}`)
  expect([template.spec.subdomain, service.spec.clusterIP]).toEqual([service.metadata.name, 'None'])
  expect(service.spec.selector).toEqual({ 'job-name': job.metadata.name })
  requireOptions(container.args ?? [])
})

test('the pods of the LeaderWorkerSet find their place', () => {
  const [set] = documents('leader-worker-set.yaml')
  const { size, workerTemplate } = set.spec.leaderWorkerTemplate
  const [container] = workerTemplate.spec.containers as Container[]
  const script = container.command?.at(-1) ?? ''
  const given: Record<string, string> = { LWS_GROUP_SIZE: `${size}`, LWS_LEADER_ADDRESS: 'phsa-train-0.phsa-train' }
  const exported = [...script.matchAll(/(\w+)="\$(\w+)"/g)].map(([, name, source]) => [name, given[source]])
  const { place } = environmentPlace({ ...variables(container, '1'), ...Object.fromEntries(exported) })
  expect(place).toMatchObject({ rank: 1, size, address: 'phsa-train-0.phsa-train', port: container.ports[0].containerPort })
  requireOptions(/phsa (train .*?) &&/.exec(script)?.[1].split(' ') ?? [])
})

test('the README explains every variable that is read, and no other', () => {
  const explained = [...read('README.md').matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name)
  const { length } = explained
  expect(new Set(explained).size).toBe(length)
  const source = readFileSync(new URL('../../packages/kernels-cuda/src/collective/group-place.ts', folder), 'utf8')
  const joined = /const \{ (.*) \} = environment/.exec(source)?.[1].split(', ') ?? []
  expect(explained.sort()).toEqual([...joined, 'PHSA_NCCL'].sort())
})
