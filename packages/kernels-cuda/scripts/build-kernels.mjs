// Compiles kernels/*.cu into dist/phsa-kernels.fatbin, one fatbin a source file behind the other, and writes dist/phsa-kernels.json, which
// says where each begins and which kernels are in it. What has not changed is taken from the last build.
//
//   --release   for all GPUs instead of Hopper alone
//   --required  fails where nvcc is missing and the kernels are not fresh; without it that is only said
//   --verbose   prints registers, spills and shared memory of each kernel
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findNvcc } from './find-nvcc.mjs'
import { DEVELOPMENT_TARGETS, hashOfAll, kernelSources, MOST_BYTES, RELEASE_TARGETS, whyStale } from './kernel-sources.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const dist = join(root, 'dist')
const cache = join(root, 'node_modules/.cache/kernels')
// Compressed for size, machine code too, which nvcc leaves as it is otherwise: a seventh remains.
const FLAGS = ['-O3', '--std=c++17', '-Xptxas=-v', '--compress-mode=size']

const release = process.argv.includes('--release')
const required = process.argv.includes('--required')
const verbose = process.argv.includes('--verbose')
const sources = kernelSources(join(root, 'kernels'))
const nvcc = findNvcc()

const stale = whyStale(dist, sources)

if (stale === undefined && !verbose) {
  console.log('the kernels are fresh, for all GPUs')
} else if (nvcc) {
  await build(nvcc)
} else {
  const remedy =
    'install CUDA toolkit 13, or set CUDA_HOME to where it is, and run `node scripts/build-kernels.mjs` in packages/kernels-cuda'
  if (required) {
    console.error(`The CUDA kernels cannot be published: ${stale}, and there is no nvcc; ${remedy} with --release.`)
    process.exitCode = 1
  } else {
    // Kernels of other sources would pass for these.
    for (const name of ['phsa-kernels.fatbin', 'phsa-kernels.json']) rmSync(join(dist, name), { force: true })
    console.log(`CUDA kernels not built: no nvcc. To use this backend from a checkout, ${remedy}.`)
  }
}

/** @param {{ path: string, version: [number, number] }} compiler */
async function build({ path, version }) {
  const start = performance.now()
  const targets = release ? RELEASE_TARGETS : DEVELOPMENT_TARGETS
  mkdirSync(cache, { recursive: true })
  const waiting = [...sources]
  const compiled = new Map()
  const work = async () => {
    for (let source = waiting.shift(); source; source = waiting.shift()) {
      const own = source.hopperOnly ? targets.filter((target) => target === 'sm_90a') : targets
      compiled.set(source.name, await compile(path, version, source, own))
    }
  }
  await Promise.all(Array.from({ length: Math.min(sources.length, availableParallelism()) }, work))

  const modules = []
  const images = []
  let offset = 0
  for (const { name } of sources) {
    const { image, kernels, targets: built } = compiled.get(name)
    modules.push({ name, kernels, targets: built, offset, bytes: image.length })
    images.push(image)
    offset += image.length
  }
  const names = modules.flatMap(({ kernels }) => kernels)
  const twice = names.find((name, at) => names.indexOf(name) !== at)
  if (twice) throw new Error(`two source files have a kernel ${twice}; names are unique over all files.`)
  if (release && offset > MOST_BYTES)
    throw new Error(`the fatbin has ${offset} bytes; at most ${MOST_BYTES} are published. Compile fewer variants.`)
  // Machine code runs on every driver of the toolkit's major version.
  const index = { sourceHash: hashOfAll(sources), targets, toolkit: version.join('.'), leastDriver: version[0] * 1000, modules }
  mkdirSync(dist, { recursive: true })
  writeFileSync(join(dist, 'phsa-kernels.fatbin'), Buffer.concat(images))
  writeFileSync(join(dist, 'phsa-kernels.json'), `${JSON.stringify(index, null, 2)}\n`)
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.log(`${names.length} kernels for ${targets.join(', ')}: ${(offset / 1024).toFixed(0)} KiB in ${seconds} s`)
}

/**
 * Compiles one source file, or takes it from the cache.
 *
 * @param {string} path of nvcc
 * @param {[number, number]} version of nvcc
 * @param {{ name: string, file: string, hash: string }} source
 * @param {string[]} targets
 * @returns {Promise<{ image: Buffer, kernels: string[], targets: string[] }>}
 */
async function compile(path, version, { name, file, hash }, targets) {
  const kept = join(cache, `${name}.${targets.length > 1 ? 'release' : 'development'}`)
  const key = [hash, ...version, ...FLAGS, ...targets].join(' ')
  if (!existsSync(`${kept}.json`) || JSON.parse(readFileSync(`${kept}.json`, 'utf8')).key !== key) {
    rmSync(`${kept}.json`, { force: true })
    const report = await run(path, ['-fatbin', ...FLAGS, ...targets.flatMap(generateCode), '-o', `${kept}.fatbin`, file])
    writeFileSync(`${kept}.json`, JSON.stringify({ key, report }))
  }
  const { report } = JSON.parse(readFileSync(`${kept}.json`, 'utf8'))
  if (verbose) console.log(`${name}\n${report}`)
  // ptxas names each kernel that it compiles, once a target; PTX alone is not named, so there must be machine code too.
  const kernels = [...new Set([...report.matchAll(/Compiling entry function '(\w+)'/g)].map(([, kernel]) => kernel))].sort()
  return { image: readFileSync(`${kept}.fatbin`), kernels, targets }
}

/** @param {string} target */
function generateCode(target) {
  const virtual = target.replace('sm_', 'compute_')
  return ['-gencode', `arch=${virtual},code=${target}`]
}

/**
 * @param {string} path
 * @param {string[]} args
 * @returns {Promise<string>} what it prints to stderr
 * @throws Error with that, if it fails
 */
function run(path, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(path, args, { stdio: ['ignore', 'inherit', 'pipe'] })
    let text = ''
    child.stderr.on('data', (chunk) => {
      text += chunk
    })
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) resolve(text)
      else reject(new Error(`${path} ${args.join(' ')} exited with ${code}\n${text}`))
    })
  })
}
