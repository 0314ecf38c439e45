// Tests what users get (`npm run check:packages`, after a build): packs every package, checks the tarballs and their sizes, installs them into an
// empty project, and there runs the js blocks of READMEs and documentation, type-checks their ts blocks and starts the command. `--write` records the sizes.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { replaceSection } from '../benchmarks/report/generated-section.js'
import { CheckList } from './check-list.js'
import { output, root, succeeds } from './command.mjs'
import { typeCheckConsumers } from './consumer-types.js'
import { BUDGETS, type PackageSizes, sizeTable } from './package-sizes.js'
import { publishedPackages } from './published-packages.js'
import { readmeBlocks } from './readme-blocks.js'
import { documentationPages } from './site/documentation-pages.js'

interface Package {
  name: string
  folder: string
  tarball: string
  /** A program without exports has no types to check. */
  hasExports: boolean
}

/** Optional peers that README blocks import. */
const readmePeers = ['@tensorflow/tfjs-layers@4.22.0']

const list = new CheckList()

/** Runs a command whose output matters only if it fails. */
function passes(command: string, args: string[]): boolean {
  try {
    output(command, args)
    return true
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    return false
  }
}

/** What Node runs for a program of a package: npx takes longer to start than most of them run. */
function programOf(name: string): string {
  const folder = join(root, 'node_modules', name)
  const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  return join(folder, typeof bin === 'string' ? bin : Object.values<string>(bin)[0])
}

function packAll(into: string): Package[] {
  return publishedPackages(root).map(({ name, folder, manifest }) => {
    // Without prepack, which demands what only a release must have: CUDA kernels for all GPUs.
    output('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', into], { cwd: folder })
    const file = `${name.replace('@', '').replace('/', '-')}-${manifest.version}.tgz`
    return { name, folder, tarball: join(into, file), hasExports: manifest.exports !== undefined }
  })
}

function checkSizes(sizes: Record<string, number>) {
  for (const [name, bytes] of Object.entries(sizes)) {
    list.check(`${name}: ${bytes.toLocaleString('en')} bytes packed, of ${BUDGETS[name]?.toLocaleString('en')}`, bytes <= BUDGETS[name])
  }
}

/** Records the sizes, and their table in the README of the benchmarks. */
function writeSizes(sizes: Record<string, number>) {
  const index = join(root, 'packages/kernels-cuda/dist/phsa-kernels.json')
  const kernels = existsSync(index) ? JSON.parse(readFileSync(index, 'utf8')).targets : []
  const result: PackageSizes = { unit: 'bytes, gzipped tarball', kernels, sizes }
  writeFileSync(join(root, 'benchmarks/results/package-sizes.json'), `${JSON.stringify(result, null, 2)}\n`)
  const readme = join(root, 'benchmarks/README.md')
  writeFileSync(readme, replaceSection(readFileSync(readme, 'utf8'), 'package-sizes', sizeTable(result)))
}

function checkTarball({ name, tarball, hasExports }: Package) {
  list.check(`${name}: publint`, passes(process.execPath, [programOf('publint'), 'run', '--strict', tarball]))
  const attw = [programOf('@arethetypeswrong/cli'), '--profile', 'esm-only', '--no-emoji', '--format', 'ascii', tarball]
  if (hasExports) list.check(`${name}: types resolve`, passes(process.execPath, attw))
  const files = output('tar', ['-tzf', tarball]).split('\n')
  for (const file of ['README.md', 'LICENSE']) list.check(`${name}: ships ${file}`, files.includes(`package/${file}`))
}

/** Runs the js blocks of a README or page, and writes down its ts blocks. @returns names of these, for the type check */
function runSnippets(name: string, file: string, project: string): string[] {
  const blocks = existsSync(file) ? readmeBlocks(readFileSync(file, 'utf8')) : []
  return blocks.flatMap(({ language, code, line }) => {
    const module = `snippet-${name.replace(/\W+/g, '-')}-${line}.${language === 'js' ? 'mjs' : 'mts'}`
    // The export makes it a module, so that top-level await is allowed.
    writeFileSync(join(project, module), language === 'js' ? code : `${code}\nexport {}\n`)
    if (language === 'ts') return [module]
    list.check(`${name}: line ${line} runs`, succeeds(process.execPath, [module], { cwd: project }))
    return []
  })
}

const temporary = mkdtempSync(join(tmpdir(), 'phsa-packages-'))
try {
  const project = join(temporary, 'project')
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }))

  const packages = packAll(temporary)
  const sizes = Object.fromEntries(packages.map(({ name, tarball }) => [name, statSync(tarball).size]))
  checkSizes(sizes)
  packages.forEach(checkTarball)

  const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', ...packages.map(({ tarball }) => tarball), ...readmePeers]
  list.check('the tarballs install into an empty project', succeeds('npm', install, { cwd: project }))
  list.check('npx phsa --help', succeeds('npx', ['--no-install', 'phsa', '--help'], { cwd: project }))
  const typed = [
    ...packages.flatMap(({ name, folder }) => runSnippets(`README of ${name}`, join(folder, 'README.md'), project)),
    ...documentationPages(root).flatMap((page) => runSnippets(`docs/${page}`, join(root, 'docs', page), project)),
  ]
  const types = await typeCheckConsumers(project, typed)
  list.check(`ts blocks type-check: ${typed.join(', ')}`, types.ok, types.text)

  if (process.argv.includes('--write')) writeSizes(sizes)
} finally {
  rmSync(temporary, { recursive: true, force: true })
}
list.finish('packages hold')
