// Tests the engines of @tensorflow/tfjs-node and @tensorflow/tfjs-node-gpu as a user has them (after a build): a project with the packed packages and
// both engines, kept in node_modules/.cache so that only the packages are installed anew; there the conformance suite, the fixtures and the choice of
// engine, in plain Node.
//
// The engines' own install scripts download libtensorflow: `--download` lets them. Otherwise it comes from a TensorFlow wheel
// (install-tfjs-node.mjs); where there is none, this says so and succeeds, or fails if PHSA_REQUIRE_BACKEND is tfjs-node.
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { output, root, succeeds } from './command.mjs'
import { downloadTfjsNode, installTfjsNode, NODE_PACKAGES } from './install-tfjs-node.mjs'
import { findWheel } from './tensorflow-wheel.mjs'

const cache = join(root, 'node_modules/.cache/tfjs-node')
const project = join(cache, 'project')
const phsa = join(project, 'node_modules/phsa/bin/phsa.js')
const fixtures = join(root, 'fixtures')

/** @type {string[]} */
const failures = []

/**
 * @param {string} what
 * @param {boolean} passed
 */
function check(what, passed) {
  console.log(`${passed ? 'ok  ' : 'FAIL'} ${what}`)
  if (!passed) failures.push(what)
}

/**
 * The command's folder and those of the workspaces that it needs, which no registry has yet.
 *
 * @returns {Set<string>}
 */
function packedFolders() {
  const folders = ['packages', 'apps'].flatMap((group) => readdirSync(join(root, group)).map((name) => join(root, group, name)))
  const manifests = folders
    .filter((folder) => existsSync(join(folder, 'package.json')))
    .map((folder) => ({ folder, ...JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) }))
  /** @type {Set<string>} */
  const found = new Set()
  const add = (/** @type {string} */ name) => {
    const manifest = manifests.find((each) => each.name === name)
    if (!manifest || found.has(manifest.folder)) return
    found.add(manifest.folder)
    for (const needed of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.peerDependencies }))
      add(needed)
  }
  add('phsa')
  return found
}

/** Puts the packed packages into the project. */
function installPackages() {
  const tarballs = join(cache, 'tarballs')
  rmSync(tarballs, { recursive: true, force: true })
  mkdirSync(tarballs, { recursive: true })
  for (const folder of packedFolders()) {
    output('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', tarballs], { cwd: folder })
  }
  // The same version with other content: npm would keep what is there.
  for (const name of ['@phsa', 'phsa', '.package-lock.json']) rmSync(join(project, 'node_modules', name), { recursive: true, force: true })
  const files = readdirSync(tarballs).map((name) => join(tarballs, name))
  const options = ['--no-package-lock', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund']
  output('npm', ['install', ...options, ...files], { cwd: project })
}

/**
 * Runs JavaScript in a project and returns the last line it prints.
 *
 * @param {string} folder
 * @param {string} code
 */
function lastLine(folder, code) {
  const printed = output(process.execPath, ['--input-type=module', '--eval', code], { cwd: folder })
  return printed.trim().split('\n').at(-1) ?? ''
}

/**
 * What the package says of an engine in a project: its device, or why not.
 *
 * @param {string} folder
 * @param {string} engine
 * @param {string} [before] code that runs first
 */
function answer(folder, engine, before = '') {
  const code = `import { tfjs } from '@phsa/kernels-tfjs'
${before}
console.log(await tfjs({ engine: '${engine}' }).then((backend) => backend.device, (error) => error.code + ': ' + error.message))`
  return lastLine(folder, code)
}

/**
 * @param {string} what
 * @param {string} given
 * @param {RegExp} expected
 */
function checkAnswer(what, given, expected) {
  check(`${what}: ${given}`, expected.test(given))
}

/**
 * A project beside the first one, with this package and links to those of its neighbour that are named.
 *
 * @param {string} name
 * @param {readonly string[]} links
 */
function neighbour(name, links) {
  const modules = join(cache, name, 'node_modules')
  rmSync(join(cache, name), { recursive: true, force: true })
  mkdirSync(join(modules, '@tensorflow'), { recursive: true })
  cpSync(join(project, 'node_modules/@phsa'), join(modules, '@phsa'), { recursive: true })
  for (const link of ['tfjs-core', 'tfjs-backend-cpu', 'tfjs-backend-wasm', ...links]) {
    symlinkSync(join(project, 'node_modules/@tensorflow', link), join(modules, '@tensorflow', link))
  }
  return join(cache, name)
}

function checkChoice() {
  checkAnswer('auto takes node-gpu', answer(project, 'auto'), /, node-gpu engine( on the CPU, because it finds no GPU)?$/)
  checkAnswer('node insists on node', answer(project, 'node'), /, node engine$/)
  const withoutGpu = neighbour('without-gpu', ['tfjs-node'])
  checkAnswer('auto without node-gpu', answer(withoutGpu, 'auto'), /, node engine \(not node-gpu: not installed\)$/)
  checkAnswer(
    'node-gpu that is not there',
    answer(withoutGpu, 'node-gpu'),
    /^backend-unavailable: .*: not installed\. Install @tensorflow\/tfjs-node-gpu@/,
  )
  const loaded = "await import('@tensorflow/tfjs-node')"
  checkAnswer(
    'auto after the user has loaded node',
    answer(project, 'auto', loaded),
    /, node engine \(not node-gpu: @tensorflow\/tfjs-node is loaded/,
  )
  const chosen = `import * as tf from '@tensorflow/tfjs-core'
import '@tensorflow/tfjs-backend-cpu'
await tf.setBackend('cpu')
process.on('exit', () => console.log(tf.getBackend()))`
  checkAnswer("the user's engine stays current", answer(project, 'node', chosen), /^cpu$/)

  const withoutNative = neighbour('without-native', [])
  const modules = join(withoutNative, 'node_modules')
  for (const name of readdirSync(join(project, 'node_modules'))) {
    if (!existsSync(join(modules, name)) && !name.startsWith('.')) symlinkSync(join(project, 'node_modules', name), join(modules, name))
  }
  symlinkSync(join(project, 'node_modules/@tensorflow/tfjs'), join(modules, '@tensorflow/tfjs'))
  for (const part of ['dist', 'package.json']) {
    cpSync(join(project, 'node_modules/@tensorflow/tfjs-node', part), join(modules, '@tensorflow/tfjs-node', part), { recursive: true })
  }
  const expected =
    /, wasm engine \(not node-gpu: not installed; not node: installed without its native part: .*npm rebuild @tensorflow\/tfjs-node\)$/
  checkAnswer('auto with half an install', answer(withoutNative, 'auto'), expected)
}

/**
 * The conformance suite and the fixtures on one engine. Both engines run at the same time: most of the suite is one thread of JavaScript.
 *
 * @param {string} name of the package, and of the backend in the command line
 */
async function checkEngine(name) {
  // On the CPU both packages have the same native library: of the second a part says that it is bound in the same way.
  const part = name === 'tfjs-node-gpu' ? ['--filter', 'f32/att*/packed*'] : []
  const suite = [
    [phsa, 'selftest', '--backend', name, ...part],
    ...['attention', 'models/qwen3-tiny'].map((path) => [phsa, 'verify', join(fixtures, path), '--backend', name]),
  ]
  for (const args of suite) {
    const { code, text } = await finished(args)
    console.log(
      text
        .trim()
        .split('\n')
        .slice(code === 0 ? -2 : -60)
        .join('\n'),
    )
    check(`phsa ${args.slice(1).join(' ').replace(root, '')}`, code === 0)
  }
}

/**
 * @param {readonly string[]} args
 * @returns {Promise<{ code: number | null, text: string }>}
 */
function finished(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: project, stdio: ['ignore', 'pipe', 'pipe'] })
    let text = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => (text += part))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, text }))
  })
}

/** The package's own tests that depend on the engine, with the engine loaded into their process. */
function checkOwnTests() {
  const preload = join(cache, 'preload.mjs')
  writeFileSync(
    preload,
    `import ${JSON.stringify(pathToFileURL(join(project, 'node_modules/@tensorflow/tfjs-node/dist/index.js')).href)}\n`,
  )
  const env = { ...process.env, NODE_OPTIONS: `--import=${pathToFileURL(preload).href}`, PHSA_TFJS_ENGINES: 'node' }
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--project', 'kernels-tfjs', 'test/leaks.test.ts', 'test/split-ties.test.ts']
  check('leaks and splits on node', succeeds(process.execPath, args, { env }))
}

async function checkAll() {
  if (Number(process.versions.node.split('.')[0]) >= 23) {
    checkAnswer('node says why it cannot run', answer(project, 'node'), /util\.isNullOrUndefined, which Node 23 removed/)
    checkAnswer('auto goes on to wasm', answer(project, 'auto'), /, wasm engine \(not node-gpu.*isNullOrUndefined/)
    console.log(`the suite itself is skipped: these engines do not run on Node ${process.versions.node}`)
    return
  }
  checkChoice()
  await Promise.all(NODE_PACKAGES.map(checkEngine))
  checkOwnTests()
}

const download = process.argv.includes('--download')
const wheel = download ? undefined : findWheel()
if (download || wheel) {
  if (wheel) installTfjsNode(project, NODE_PACKAGES, wheel)
  else downloadTfjsNode(project, NODE_PACKAGES)
  installPackages()
  await checkAll()
  console.log(failures.length === 0 ? 'tfjs-node holds' : `${failures.length} tfjs-node checks failed`)
  process.exitCode = failures.length === 0 ? 0 : 1
} else {
  const required = process.env.PHSA_REQUIRE_BACKEND === 'tfjs-node'
  console.log(`${required ? 'failed' : 'skipped'}: there is no TensorFlow wheel to take libtensorflow from; TENSORFLOW_WHEEL names one`)
  process.exitCode = required ? 1 : 0
}
