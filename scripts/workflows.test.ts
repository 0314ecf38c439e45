import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseDocument } from 'yaml'
import { root } from './command.mjs'

interface Step {
  readonly uses?: string
  readonly run?: string
  readonly with?: Readonly<Record<string, unknown>>
  readonly env?: Readonly<Record<string, string>>
}

interface Workflow {
  readonly on: object
  readonly permissions: object
  readonly jobs: Readonly<Record<string, { readonly needs?: string; readonly 'timeout-minutes'?: number; readonly steps: readonly Step[] }>>
}

const folder = join(root, '.github/workflows')
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const workflows = readdirSync(folder).map((name) => {
  const text = readFileSync(join(folder, name), 'utf8')
  const document = parseDocument(text)
  expect(document.errors).toEqual([])
  return { name, text, workflow: document.toJS() as Workflow }
})
const stepsOf = ({ jobs }: Workflow) => Object.values(jobs).flatMap(({ steps }) => steps)

test.each(workflows)('$name has jobs that end, with the rights that they name and steps that there are', ({ workflow }) => {
  const { jobs, permissions } = workflow
  expect(permissions).toBeDefined()
  for (const { needs, steps, 'timeout-minutes': minutes } of Object.values(jobs)) {
    expect(minutes).toBeGreaterThan(0)
    if (needs) expect(jobs).toHaveProperty([needs])
    for (const { uses, run } of steps) expect([uses, run].filter(Boolean)).toHaveLength(1)
  }
  for (const { run = '' } of stepsOf(workflow)) {
    for (const [, script] of run.matchAll(/npm run ([\w:-]+)/g)) expect(scripts).toHaveProperty([script])
    for (const [, file] of run.matchAll(/node (\S+)/g)) expect(existsSync(join(root, file)), file).toBe(true)
  }
})

test('actions are pinned to commits, the same ones everywhere', () => {
  const used = workflows.flatMap(({ text }) => [...text.matchAll(/uses: (.*)$/gm)].map(([, action]) => action))
  for (const action of used) expect(action).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
  const names = new Set(used.map((action) => action.replace(/@.*/, '')))
  expect(new Set(used).size).toBe(names.size)
})

test('known vulnerabilities stop a change and a release', () => {
  const audited = workflows.filter(({ workflow }) => stepsOf(workflow).some(({ run }) => run === 'npm audit'))
  expect(audited.map(({ name }) => name)).toEqual(['ci.yml', 'release.yml'])
})

test('the site is built for the address that the playground leads back to, and what was built is what is deployed', () => {
  const steps = stepsOf(workflows.find(({ name }) => name === 'site.yml')!.workflow)
  const base = steps.find(({ run }) => run === 'npm run docs:site')?.env?.PHSA_SITE_BASE
  expect(readFileSync(join(root, 'apps/playground/index.html'), 'utf8')).toContain(`href="https://phsa.github.io${base}"`)
  expect(steps.find(({ uses }) => uses?.includes('/upload-pages-artifact@'))?.with).toEqual({ path: 'docs/.vitepress/dist' })
})
