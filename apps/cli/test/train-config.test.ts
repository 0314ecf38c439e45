import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { buildProgram } from '../src/program.js'
import { ConfigError } from '../src/training-config/config-problem.js'
import { readConfigFile } from '../src/training-config/config-source.js'
import { FLAG_SETTINGS, isSettingFlag, withFlags } from '../src/training-config/flag-settings.js'
import { parseConfig } from '../src/training-config/parse-config.js'
import { scheduleStages } from '../src/training-config/schedule-option.js'
import { PATH_SETTINGS, withAbsolutePaths } from '../src/training-config/setting-paths.js'
import { trainConfig } from '../src/training-config/train-config.js'

const folder = mkdtempSync(join(tmpdir(), 'phsa-config-'))
const DATA = 'data: { sources: [book.txt] }\n'

function written(name: string, text: string): string {
  const file = join(folder, name)
  writeFileSync(file, text)
  return file
}

/** The problems of a file as lines, with the name of the file left out. */
async function problemsOf(text: string): Promise<string[]> {
  const file = written('run.yaml', text)
  const source = await readConfigFile(file)
  const { problems } = parseConfig(source.value)
  return problems.map(({ path, message }) => `${source.where(path)?.replace(`${file}:`, '')} ${message}`)
}

/** A setting by its name in a value. */
function at(value: unknown, setting: string): unknown {
  return setting.split('.').reduce<unknown>((node, name) => (node as Record<string, unknown> | undefined)?.[name], value)
}

test('a file that names its data is a whole run', () => {
  const { config, problems } = parseConfig({ data: { sources: ['book.txt'] } })
  expect(problems).toEqual([])
  expect(config).toMatchObject({ policy: 'phsa', dtype: 'f32', batch: { tokens: 512, sequences: 2, accumulate: 1 }, run: { start: 'new' } })
})

test('every problem is listed, each with its line and column, what is allowed and the nearest name', async () => {
  const lines = await problemsOf(
    `${DATA}run:
  stpes: 20
batch:
  tokens: many
  sequences: 0
policy: mean_pool
schedule:
  - { kind: dense, share: 0.5 }
  - { kind: sparse, share: 0.5, topK: { from: 8, to: 65 } }
optimiser: {}
`,
  )
  expect(lines).toHaveLength(6)
  expect(lines.find((line) => line.startsWith('3:3 run.stpes'))).toContain('did you mean steps?')
  expect(lines).toContain('5:3 batch.tokens is "many"; it must be an integer of at least 16.')
  expect(lines).toContain('6:3 batch.sequences is 0; it must be an integer of at least 1.')
  expect(lines.find((line) => line.startsWith('7:1 policy is "mean_pool"'))).toContain('mean-pool')
  expect(lines).toContain('10:50 schedule[1].topK.to is 65; it must be an integer from 0 to 64.')
  expect(lines.find((line) => line.startsWith('11:1 optimiser'))).toContain('did you mean optimizer?')
})

test('what is right is understood beside what is wrong', () => {
  const { config } = parseConfig({ data: { sources: ['a.txt'] }, batch: { tokens: 'many', sequences: 3 }, validation: { every: 2 } })
  expect(config?.batch).toEqual({ tokens: 512, sequences: 3, accumulate: 1 })
  expect(config?.validation).toBeUndefined()
  const withoutData = parseConfig({ data: { sources: [7] }, seed: 3 })
  expect([withoutData.config?.seed, withoutData.problems.map(({ message }) => message)]).toEqual([
    3,
    ['data.sources[0] is 7; it must be a path, or a source with a path.'],
  ])
  expect(parseConfig('text').problems[0].message).toContain('the configuration is "text"; it must be settings by name: ')
})

test('an error of syntax is shown where it is', async () => {
  const file = written('broken.yaml', 'batch:\n  tokens: [1,\nseed: 3\n')
  await expect(readConfigFile(file)).rejects.toThrow(`${file}:3:1: this is no valid YAML`)
  const second = written('two.yaml', `${DATA}---\nseed: 3\n`)
  await expect(readConfigFile(second)).rejects.toThrow(`${second}:2:1: a second document begins here`)
})

test.each([
  ['an alias of nothing', 'data: { sources: [*nowhere] }', 'Unresolved alias'],
  ['a merge of no map', `${DATA}optimizer: { <<: 5 }`, 'Merge sources must be maps'],
  ['aliases that grow', `a: &a [${'x,'.repeat(99)}]\nb: &b [${'*a,'.repeat(99)}]\nc: [${'*b,'.repeat(99)}]`, 'Excessive alias count'],
])('%s is no valid YAML', async (_, text, reason) => {
  const file = written('aliases.yaml', text)
  await expect(readConfigFile(file)).rejects.toThrow(ConfigError)
  await expect(readConfigFile(file)).rejects.toThrow(`${file}: this is no valid YAML: ${reason}`)
})

test('a number that is no integer and too large is one problem', async () => {
  expect(await problemsOf(`${DATA}seed: 99999999999999999999\n`)).toHaveLength(1)
  expect(await problemsOf('data: { sources: [{ path: a.txt, name: .. }] }')).toEqual([
    '1:34 data.sources[0].name is ".."; it must be a name of letters, digits, points, - and _, which does not begin with a point.',
  ])
})

test('JSON, anchors, merged keys and empty sections are YAML', async () => {
  const { value } = await readConfigFile(written('run.json', '{"data": {"sources": ["a.txt"]}, "seed": 3}'))
  expect(value).toEqual({ data: { sources: ['a.txt'] }, seed: 3 })
  const merged = await readConfigFile(
    written('merged.yaml', `${DATA}a: &a { beta1: 0.8 }\noptimizer: { <<: *a, beta2: 0.9 }\nvalidation:\n`),
  )
  expect(merged.value).toMatchObject({ optimizer: { beta1: 0.8, beta2: 0.9 } })
  expect(merged.value).not.toHaveProperty('validation')
})

test('options come before the file, and a problem names the option', async () => {
  const file = written('run.yaml', `${DATA}run: { tokens: 1000, tokenizer: t, shape: { layers: 2 } }\nbatch: { tokens: 64 }\n`)
  const source = withFlags(await readConfigFile(file), { steps: 5, model: 'm', sequenceTokens: 3, resumeOrStart: true }, '/there')
  expect(source.value).toMatchObject({ run: { steps: 5, model: '/there/m', start: 'resume-or-start' }, batch: { tokens: 3 } })
  for (const gone of ['run.tokens', 'run.tokenizer', 'run.shape']) expect(at(source.value, gone)).toBeUndefined()
  const { problems } = parseConfig(source.value)
  expect(new ConfigError(problems, source.where).message).toBe(
    '--sequence-tokens: batch.tokens is 3; it must be an integer of at least 16.',
  )
})

test('relative paths start at the file', () => {
  const sources = ['a.txt', { path: ['b.txt', '/abs/c.txt'], weight: 2 }, 7]
  expect(withAbsolutePaths({ out: 'o', run: { model: '../m' }, data: { sources }, validation: 'wrong' }, '/lab/runs')).toEqual({
    out: '/lab/runs/o',
    run: { model: '/lab/m' },
    data: { sources: ['/lab/runs/a.txt', { path: ['/lab/runs/b.txt', '/abs/c.txt'], weight: 2 }, 7] },
    validation: 'wrong',
  })
})

/** Names of all settings in a JSON Schema, with dots. */
function settingsOf(schema: z.core.JSONSchema.BaseSchema, prefix = ''): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => {
    if (typeof inner === 'boolean') return []
    return [`${prefix}${name}`, ...settingsOf(inner, `${prefix}${name}.`)]
  })
}

const schema = z.toJSONSchema(trainConfig, { io: 'input', target: 'draft-7' })

test('the JSON Schema for editors is that of the parser; vitest -u writes it', async () => {
  await expect(`${JSON.stringify(schema, undefined, 2)}\n`).toMatchFileSnapshot('../train-config.schema.json')
  const { files } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { files: string[] }
  expect(files).toContain('train-config.schema.json')
})

test('every option and every path is a setting that there is', () => {
  const settings = settingsOf(schema)
  for (const setting of [...Object.values(FLAG_SETTINGS), ...PATH_SETTINGS]) expect(settings).toContain(setting)
})

test('the defaults that --help shows are those of the file', () => {
  const { config } = parseConfig({ data: { sources: ['a.txt'] }, run: { shape: {} } })
  const { options } = buildProgram().program.commands.find((command) => command.name() === 'train')!
  const settings = options.filter((option) => isSettingFlag(option.attributeName()))
  expect(settings.length).toBe(Object.keys(FLAG_SETTINGS).length)
  for (const option of settings) {
    const name = option.attributeName()
    if (option.defaultValue === undefined || name === 'steps' || !isSettingFlag(name)) continue
    const expected = name === 'schedule' ? scheduleStages(option.defaultValue as string) : option.defaultValue
    expect([name, at(config, FLAG_SETTINGS[name])]).toEqual([name, expected])
  }
})

test('the configuration of the README is one, and shows every section', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const shown = parse(/```yaml\n([\s\S]*?)```/.exec(readme)![1])
  expect(parseConfig(shown).problems).toEqual([])
  expect(Object.keys(shown).sort()).toEqual(
    Object.keys(schema.properties!)
      .filter((name) => name !== '$schema')
      .sort(),
  )
})
