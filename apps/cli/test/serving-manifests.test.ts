import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { buildProgram } from '../src/program.js'

const root = new URL('../../../', import.meta.url)
const read = (name: string) => readFileSync(new URL(name, root), 'utf8')

/** The documents of a manifest by kind; a mistake in its YAML fails here. */
function documents(name: string) {
  const all = parseAllDocuments(read(`examples/kubernetes/serving/${name}`)).map((document) => {
    expect(document.errors).toEqual([])
    return document.toJS()
  })
  return Object.fromEntries(all.map((document) => [document.kind, document]))
}

/** What phsa makes of a container's arguments; commander refuses a wrong one. */
async function parsed(args: readonly string[]): Promise<Record<string, unknown>> {
  const { program } = buildProgram()
  const serve = program.commands.find((command) => command.name() === 'serve')!
  serve.action(() => undefined)
  await program.parseAsync([...args], { from: 'user' })
  return serve.opts()
}

const seconds = (sleep: readonly string[]) => Number(sleep.at(-1))

test('the Deployment: its command line, probes, and time to drain', async () => {
  const { Deployment, Service, PodDisruptionBudget, HorizontalPodAutoscaler, PodMonitor } = documents('serving.yaml')
  const { template, selector } = Deployment.spec
  const [container] = template.spec.containers
  const options = await parsed(container.args)
  expect(options).toMatchObject({ host: '0.0.0.0', port: container.ports[0].containerPort })
  const mounts = container.volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath)
  for (const path of [options.model, options.apiKeyFile])
    expect(mounts.some((mount: string) => String(path).startsWith(`${mount}/`))).toBe(true)

  const grace = template.spec.terminationGracePeriodSeconds - seconds(container.lifecycle.preStop.exec.command)
  expect(grace).toBeGreaterThan(Number(options.grace))
  for (const probe of ['startupProbe', 'readinessProbe']) expect(container[probe].httpGet).toEqual({ path: '/health', port: 'http' })
  expect(container.livenessProbe.httpGet).toEqual({ path: '/health/live', port: 'http' })

  expect(template.metadata.labels).toEqual(selector.matchLabels)
  expect(Service.spec.selector).toEqual(selector.matchLabels)
  for (const { spec } of [PodDisruptionBudget, PodMonitor]) expect(spec.selector).toEqual(selector)
  expect(HorizontalPodAutoscaler.spec.scaleTargetRef).toEqual({ apiVersion: 'apps/v1', kind: 'Deployment', name: Deployment.metadata.name })
})

test('the autoscaler goes by a metric that there is, under the name that the README gives it', () => {
  const [{ pods }] = documents('serving.yaml').HorizontalPodAutoscaler.spec.metrics
  const readme = read('examples/kubernetes/serving/README.md')
  expect(readme).toContain(`name: { as: ${pods.metric.name} }`)
  const series = /seriesQuery: 'phsa:(\w+)\{/.exec(readme)?.[1]
  expect(read('packages/server/src/api/server-metrics.ts')).toContain(`'${series}'`)
})

test('the InferenceService: its command line, probes, and time to drain', async () => {
  const { predictor } = documents('inference-service.yaml').InferenceService.spec
  const [container] = predictor.containers
  const options = await parsed(container.args)
  expect(options).toMatchObject({ host: '0.0.0.0', port: container.ports[0].containerPort, model: '/mnt/models' })
  expect(predictor.terminationGracePeriodSeconds).toBeGreaterThan(Number(options.grace))
  expect([container.readinessProbe.httpGet.port, container.livenessProbe.httpGet.port]).toEqual([options.port, options.port])
})

test('the image runs without rights, and asks a route that there is for its health', () => {
  const dockerfile = read('Dockerfile')
  const stages = dockerfile.split(/^FROM /m).slice(1)
  const names = stages.map((stage) => /^\S+ AS (\w+)/.exec(stage)?.[1])
  expect(names.slice(-2)).toEqual(['cuda', 'host'])
  const base = stages[names.indexOf('base')]
  expect(base).toMatch(/^USER node$/m)
  const path = /127\.0\.0\.1:8000(\/\S+?)'/.exec(base)?.[1]
  expect(read('packages/server/src/api/create-api.ts')).toContain(`'${path}'`)
  for (const [, from] of dockerfile.matchAll(/^COPY --from=(\w+)/gm)) expect(names).toContain(from)
})

test('the command lines of the Dockerfile are ones that phsa takes', async () => {
  const [, line] = /phsa (serve .*)$/m.exec(read('Dockerfile')) ?? []
  expect(await parsed(line.split(' '))).toMatchObject({ host: '0.0.0.0' })
})
