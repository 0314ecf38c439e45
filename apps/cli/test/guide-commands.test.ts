// Every command of the documentation site: those of the guides are run, in a folder with a tiny run.yaml; those of READMEs are parsed, or listed with the reason why not.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { documentationPages } from '../../../scripts/site/documentation-pages.js'
import { buildProgram } from '../src/program.js'
import { writeByteTokenizer } from './byte-tokenizer.js'
import { commandWords } from './command-words.js'
import { runHere, temporaryFolder } from './run-phsa.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')

/** The lines of a page's sh blocks, without comments. */
function commandsOf(page: string): string[] {
  const blocks = [...read(page).matchAll(/^ *```sh\n([\s\S]*?)^ *```$/gm)]
  return blocks.flatMap(([, block]) => block.split('\n').map((line) => line.replace(/(^|\s)#.*$/, '').trim())).filter(Boolean)
}

const guides = documentationPages(root).flatMap((page) => commandsOf(`docs/${page}`))
const folders = ['packages', 'apps', 'apps/playground', 'examples', 'examples/kubernetes'].flatMap((group) =>
  readdirSync(join(root, group)).map((name) => `${group}/${name}`),
)
const readmes = ['.', 'benchmarks', ...folders]
  .map((folder) => `${folder}/README.md`)
  .filter((name) => existsSync(join(root, name)))
  .flatMap(commandsOf)
const ofPhsa = (line: string) => /^(npx )?phsa /.test(line)
const argumentsOf = (line: string) => commandWords(line.replace(/^(npx )?phsa | > \S+$/g, ''))

test.each([...new Set([...guides, ...readmes].filter(ofPhsa))])('%s can be typed', async (line) => {
  const { program } = buildProgram()
  const parsed: string[] = []
  for (const command of program.commands) command.action(() => void parsed.push(command.name()))
  const args = argumentsOf(line)
  await program.parseAsync(args, { from: 'user' })
  expect(parsed).toEqual([args[0]])
})

/** What a package or one of its dependencies and peers is installed as. */
function versions(): Map<string, string> {
  const found = folders
    .map((folder) => `${folder}/package.json`)
    .filter((path) => existsSync(join(root, path)))
    .map((path) => JSON.parse(read(path)))
    .flatMap(({ name, dependencies, peerDependencies }) => [
      [name, '*'],
      ...Object.entries<string>({ ...dependencies, ...peerDependencies }),
    ])
  return new Map(found as [string, string][])
}

test.each(guides.filter((line) => line.startsWith('npm ')))('%s installs what there is', (line) => {
  expect(line).toMatch(/^npm install /)
  for (const [, name, version = '*'] of line.slice('npm install '.length).matchAll(/(@?[^\s@]+)(?:@(\S+))?/g)) {
    expect(versions().get(name)).toBe(version)
  }
})

test.each([...new Set(readmes.filter((line) => /^npm run |\.(ts|mjs)\b/.test(line)))])('%s names what there is', (line) => {
  const [, script] = /^npm run (\S+)/.exec(line) ?? []
  if (script) expect(JSON.parse(read('package.json')).scripts).toHaveProperty([script])
  for (const file of commandWords(line).filter((word) => /^[a-z-]+\/\S+\.(ts|mjs)$/.test(word))) {
    expect(
      ['', 'packages/kernels-cuda/'].some((folder) => existsSync(join(root, folder, file))),
      file,
    ).toBe(true)
  }
})

test('the guides have no other commands', () => {
  expect(guides.filter((line) => !ofPhsa(line) && !line.startsWith('npm '))).toEqual([])
})

/** What no test runs, with what it would need, and what checks it instead; a command that is neither here nor above fails. */
const NOT_RUN_HERE: readonly { readonly command: RegExp; readonly because: string }[] = [
  { command: /^npm test$/, because: 'it is what runs this' },
  { command: /^cd packages\/kernels-cuda$/, because: 'changes nothing by itself; the commands after it are checked above' },
  { command: /^curl /, because: 'run by serve.test.ts' },
  { command: /^npx vite apps\/playground$/, because: 'does not end; page.test.ts of the playground builds with the same configuration' },
  { command: /^tensorboard --logdir /, because: 'needs Python with TensorBoard; tests of @phsa/trainer read the files that it opens' },
  { command: /^torchrun /, because: 'needs PyTorch and two hosts with GPUs; launch/rank-place.test.ts reads the variables that it sets' },
  { command: /^kubectl /, because: 'needs a cluster; launch/kubernetes.test.ts and kubernetes-manifests.test.ts check what it applies' },
  { command: /^docker build /, because: 'needs a daemon and images from the network' },
  { command: /^printf .*openssl rand /, because: 'run by serve.test.ts' },
  { command: /^offline\/bench-[a-z]+ OUT/, because: 'needs an NVIDIA GPU; pack-offline.mjs makes it of the scripts beside it' },
]

test('every other command of a README is one that is not run, with its reason, and each of these is there', () => {
  const others = readmes.filter((line) => !ofPhsa(line) && !/^npm run |\.(ts|mjs)\b/.test(line))
  expect(others.filter((line) => !NOT_RUN_HERE.some(({ command }) => command.test(line)))).toEqual([])
  expect(NOT_RUN_HERE.filter(({ command }) => !others.some((line) => command.test(line)))).toEqual([])
})

/** What others run: doctor command-line.test.ts; what does not end serve.test.ts; what needs GPUs launch/. */
const LEFT_OUT = /phsa (doctor|serve)|--gpus/
const SENTENCE = 'It is a truth, universally acknowledged; or so she said. '
let folder: string
beforeAll(() => {
  folder = temporaryFolder()
  writeByteTokenizer(join(folder, 'bytes'))
  for (const name of ['train.txt', 'held-out.txt']) writeFileSync(join(folder, name), SENTENCE.repeat(60))
  const whole = parse(read('examples/train-from-scratch/run.yaml'))
  const tiny = {
    ...whole,
    backend: 'reference',
    run: { ...whole.run, shape: { hiddenSize: 8, layers: 1, heads: 2, kvHeads: 1, headDim: 4 }, tokenizer: 'bytes', steps: 3 },
    data: { sources: ['train.txt'] },
    batch: { tokens: 48, sequences: 1 },
    phsa: { ...whole.phsa, localTokens: 16 },
    validation: { ...whole.validation, path: 'held-out.txt', windows: 1 },
  }
  writeFileSync(join(folder, 'run.yaml'), stringify(tiny))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** What makes a command short, besides the run's own settings. */
const TINY: Readonly<Record<string, string>> = {
  generate: '--backend reference',
  eval: '--backend reference --windows 1 --tokens 320',
  calibrate: '--backend reference --windows 4 --tokens 128',
}

/** In order: what one leaves the next reads. */
test.each(guides.filter((line) => ofPhsa(line) && !LEFT_OUT.test(line)))('%s works', async (line) => {
  const args = argumentsOf(line).map((word) => (['run.yaml', 'out', 'held-out.txt'].includes(word) ? join(folder, word) : word))
  const { code, stdout, stderr } = await runHere([...args, ...commandWords(TINY[args[0]] ?? '')])
  expect(code, stderr).toBe(0)
  expect(stdout).not.toBe('')
})
