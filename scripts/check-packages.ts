// Tests what users get (`npm run check:packages`, after a build): packs every package, checks the tarballs, installs them into an empty
// project, and there runs each README's js blocks, type-checks its ts blocks and starts the command. `--write` records the sizes.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { output, root, succeeds } from './command.mjs'
import { readmeBlocks } from './readme-blocks.js'

interface Package {
  name: string
  folder: string
  tarball: string
  /** A program without exports has no types to check. */
  hasExports: boolean
}

/** Optional peers that README blocks import. */
const readmePeers = ['@tensorflow/tfjs-layers@4.22.0']

const failures: string[] = []

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

function check(what: string, passed: boolean) {
  console.log(`${passed ? 'ok  ' : 'FAIL'} ${what}`)
  if (!passed) failures.push(what)
}

function packAll(into: string): Package[] {
  const folders = ['packages', 'apps'].flatMap((group) => readdirSync(join(root, group)).map((name) => join(root, group, name)))
  return folders
    .filter((folder) => existsSync(join(folder, 'package.json')))
    .flatMap((folder) => {
      const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
      if (manifest.private) return []
      // Without prepack, which demands what only a release must have: CUDA kernels for all GPUs.
      output('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', into], { cwd: folder })
      const file = `${manifest.name.replace('@', '').replace('/', '-')}-${manifest.version}.tgz`
      return [{ name: manifest.name, folder, tarball: join(into, file), hasExports: manifest.exports !== undefined }]
    })
}

function checkTarball({ name, tarball, hasExports }: Package) {
  check(`${name}: publint`, passes('npx', ['--no-install', 'publint', 'run', '--strict', tarball]))
  const attw = ['--no-install', 'attw', '--profile', 'esm-only', '--no-emoji', '--format', 'ascii', tarball]
  if (hasExports) check(`${name}: types resolve`, passes('npx', attw))
  const files = output('tar', ['-tzf', tarball]).split('\n')
  for (const file of ['README.md', 'LICENSE']) check(`${name}: ships ${file}`, files.includes(`package/${file}`))
}

function runReadme({ name, folder }: Package, project: string): string[] {
  const readme = join(folder, 'README.md')
  if (!existsSync(readme)) return []
  const blocks = readmeBlocks(readFileSync(readme, 'utf8'))
  return blocks.flatMap(({ language, code, line }) => {
    const file = `readme-${name.replace(/\W+/g, '-')}-${line}.${language === 'js' ? 'mjs' : 'mts'}`
    // The export makes it a module, so that top-level await is allowed.
    writeFileSync(join(project, file), language === 'js' ? code : `${code}\nexport {}\n`)
    if (language === 'ts') return [file]
    check(`${name}: README line ${line} runs`, succeeds(process.execPath, [file], { cwd: project }))
    return []
  })
}

function typeCheck(files: string[], project: string) {
  if (files.length === 0) return
  const compilerOptions = {
    target: 'ES2022',
    lib: ['ES2023', 'ESNext.Disposable', 'DOM'],
    module: 'NodeNext',
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    typeRoots: [join(root, 'node_modules/@types')],
    types: ['node'],
  }
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  check(`README ts blocks type-check: ${files.join(', ')}`, succeeds(process.execPath, [tsc, '-p', project], { cwd: project }))
}

const temporary = mkdtempSync(join(tmpdir(), 'phsa-packages-'))
try {
  const project = join(temporary, 'project')
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }))

  const packages = packAll(temporary)
  const sizes = Object.fromEntries(packages.map(({ name, tarball }) => [name, statSync(tarball).size]))
  for (const [name, bytes] of Object.entries(sizes)) console.log(`${name}: ${(bytes / 1024).toFixed(1)} KiB packed`)
  packages.forEach(checkTarball)

  const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', ...packages.map(({ tarball }) => tarball), ...readmePeers]
  check('the tarballs install into an empty project', succeeds('npm', install, { cwd: project }))
  check('npx phsa --help', succeeds('npx', ['--no-install', 'phsa', '--help'], { cwd: project }))
  typeCheck(
    packages.flatMap((each) => runReadme(each, project)),
    project,
  )

  if (process.argv.includes('--write')) {
    writeFileSync(
      join(root, 'benchmarks/results/package-sizes.json'),
      `${JSON.stringify({ unit: 'bytes, gzipped tarball', sizes }, null, 2)}\n`,
    )
  }
} finally {
  rmSync(temporary, { recursive: true, force: true })
}
console.log(failures.length === 0 ? 'packages hold' : `${failures.length} package checks failed`)
process.exitCode = failures.length === 0 ? 0 : 1
