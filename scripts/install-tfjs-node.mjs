// Puts @tensorflow/tfjs-node, @tensorflow/tfjs-node-gpu or both into the npm project in a folder, on a machine with a TensorFlow wheel:
//
//     node scripts/install-tfjs-node.mjs FOLDER [tfjs-node] [tfjs-node-gpu]
//
// Their own install scripts download libtensorflow; this takes it from the wheel, so both compute on the CPU. The wheel is the one that
// TENSORFLOW_WHEEL names, or the newest that lies on the disk. Needs python3, make and a C++ compiler. Exit code 3 where there is no wheel.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { output, succeeds } from './command.mjs'
import { findWheel, unpackWheel } from './tensorflow-wheel.mjs'

const VERSION = '4.22.0'

/** What this can install. */
export const NODE_PACKAGES = ['tfjs-node', 'tfjs-node-gpu']

/**
 * Installs packages into the project in a folder as anybody would: their install scripts download what they need.
 *
 * @param {string} folder
 * @param {readonly string[]} names of NODE_PACKAGES
 * @throws Error with the output of the command that failed
 */
export function downloadTfjsNode(folder, names) {
  makeProject(folder, names)
  npmInstall(folder, names, [])
}

/**
 * Installs packages into the project in a folder with the libtensorflow of a wheel; what is there already stays.
 *
 * @param {string} folder
 * @param {readonly string[]} names of NODE_PACKAGES
 * @param {string} wheel
 * @throws Error with the output of the command that failed
 */
export function installTfjsNode(folder, names, wheel) {
  makeProject(folder, names)
  npmInstall(folder, names, ['--ignore-scripts'])
  const modules = join(folder, 'node_modules')
  // One copy for both packages.
  const library = join(modules, '.cache', basename(wheel, '.whl'))
  mkdirSync(dirname(library), { recursive: true })
  unpackWheel(wheel, library)
  for (const name of names) {
    const home = join(modules, '@tensorflow', name)
    if (!existsSync(join(home, 'deps'))) symlinkSync(relative(home, library), join(home, 'deps'))
    if (!existsSync(join(home, 'lib')))
      addNativePart(
        home,
        names.map((other) => join(modules, '@tensorflow', other)),
      )
  }
}

/**
 * @param {string} folder
 * @param {readonly string[]} names
 */
function makeProject(folder, names) {
  mkdirSync(folder, { recursive: true })
  const manifest = join(folder, 'package.json')
  if (existsSync(manifest)) return
  // npm 11 runs the install scripts of packages that are named here.
  const allowScripts = Object.fromEntries(names.map((name) => [`@tensorflow/${name}@${VERSION}`, true]))
  writeFileSync(manifest, `${JSON.stringify({ private: true, type: 'module', allowScripts }, null, 2)}\n`)
}

/**
 * @param {string} folder
 * @param {readonly string[]} names
 * @param {readonly string[]} options
 */
function npmInstall(folder, names, options) {
  const missing = names.filter((name) => !existsSync(join(folder, 'node_modules/@tensorflow', name, 'package.json')))
  if (missing.length === 0) return
  const specs = missing.map((name) => `@tensorflow/${name}@${VERSION}`)
  output('npm', ['install', '--save-exact', '--prefer-offline', '--no-audit', '--no-fund', ...options, ...specs], { cwd: folder })
}

/**
 * Compiles what links a package with libtensorflow, or copies it from a package that is compiled from the same sources.
 *
 * @param {string} home
 * @param {readonly string[]} others
 */
function addNativePart(home, others) {
  const twin = others.find((other) => existsSync(join(other, 'lib')) && sourcesOf(other) === sourcesOf(home))
  if (twin) {
    cpSync(join(twin, 'lib'), join(home, 'lib'), { recursive: true })
    return
  }
  const tool = join(home, '../../@mapbox/node-pre-gyp/bin/node-pre-gyp')
  try {
    output(process.execPath, [tool, 'install', '--build-from-source'], { cwd: home, env: { ...process.env, ...headersOfThisNode() } })
  } catch (error) {
    rmSync(join(home, 'lib'), { recursive: true, force: true })
    throw error
  }
}

/** @param {string} home */
function sourcesOf(home) {
  const folder = join(home, 'binding')
  return readdirSync(folder)
    .map((file) => readFileSync(join(folder, file), 'utf8'))
    .join()
}

/** Node's headers, where they were installed with it: node-gyp would download them. */
function headersOfThisNode() {
  const prefix = dirname(dirname(process.execPath))
  return existsSync(join(prefix, 'include/node/node_api.h')) ? { npm_config_nodedir: prefix } : {}
}

/** @param {readonly string[]} args */
function main([folder, ...names]) {
  const unknown = names.filter((name) => !NODE_PACKAGES.includes(name))
  if (folder === undefined || unknown.length > 0) {
    console.error(`usage: install-tfjs-node.mjs FOLDER [${NODE_PACKAGES.join('] [')}]`)
    return 2
  }
  const wheel = findWheel()
  if (wheel === undefined) {
    console.error('install-tfjs-node: there is no TensorFlow wheel for Linux on x64 here; set TENSORFLOW_WHEEL to one.')
    return 3
  }
  const wanted = names.length > 0 ? names : NODE_PACKAGES.slice(0, 1)
  installTfjsNode(resolve(folder), wanted, wheel)
  console.log(`installed ${wanted.join(' and ')} with ${basename(wheel)}`)
  return wanted.every((name) => succeeds(process.execPath, ['-p', `require('@tensorflow/${name}').version`], { cwd: folder })) ? 0 : 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv.slice(2))
