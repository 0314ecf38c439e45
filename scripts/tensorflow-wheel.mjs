// A wheel is how TensorFlow reaches Python; the C library that TensorFlow.js for Node links with lies in it too.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { basename, join, parse } from 'node:path'
import { output } from './command.mjs'

const WHEEL = /^tensorflow(?:_cpu)?-(\d+)\.(\d+)\.(\d+)-.*manylinux.*_x86_64\.whl$/

// Bounds of the search: what is deeper is no place where anybody keeps wheels, and a disk can be large.
const DEEPEST = 5
const MOST_FOLDERS = 50_000
const NOT_SEARCHED = new Set(['proc', 'sys', 'dev', 'run', 'node_modules', 'site-packages', '.git'])

/**
 * The wheel that TENSORFLOW_WHEEL names, or the newest one that a bounded search of this disk finds.
 *
 * @returns {string | undefined}
 * @throws Error where TENSORFLOW_WHEEL names no file
 */
export function findWheel() {
  const named = process.env.TENSORFLOW_WHEEL
  if (named && !existsSync(named)) throw new Error(`TENSORFLOW_WHEEL is ${named}, which is not there.`)
  if (named) return named
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined
  return wheelsOnDisk()
    .sort((left, right) => versionOf(left) - versionOf(right))
    .at(-1)
}

/** @returns {string[]} */
function wheelsOnDisk() {
  /** @type {string[]} */
  const found = []
  let folders = [parse(process.cwd()).root]
  for (let depth = 0, visited = 0; depth <= DEEPEST; depth++) {
    /** @type {string[]} */
    const next = []
    for (const folder of folders) {
      if (++visited > MOST_FOLDERS) return found
      for (const entry of entriesOf(folder)) {
        if (entry.isDirectory() && !NOT_SEARCHED.has(entry.name)) next.push(join(folder, entry.name))
        if (entry.isFile() && WHEEL.test(entry.name)) found.push(join(folder, entry.name))
      }
    }
    folders = next
  }
  return found
}

/** @param {string} folder */
function entriesOf(folder) {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch {
    // Not ours to read, or gone since: then no wheel of ours is in it.
    return []
  }
}

/** @param {string} wheel */
function versionOf(wheel) {
  const [, major, minor, patch] = basename(wheel).match(WHEEL) ?? [0, 0, 0, 0]
  return Number(major) * 1e6 + Number(minor) * 1e3 + Number(patch)
}

// The libraries under the names that the loader and the linker look for, and the headers of the C API, streamed to disk: the wheel is a zip.
const UNPACK = `
import os, re, shutil, sys, zipfile
wheel, target = sys.argv[1:]
names = {
    'libtensorflow_cc.so.2': 'lib/libtensorflow.so.2.9.1',
    'libtensorflow_framework.so.2': 'lib/libtensorflow_framework.so.2',
}
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.infolist():
        name = entry.filename.removeprefix('tensorflow/')
        if re.match(r'include/(tensorflow/(c|core/platform)|(xla/)?tsl/(c|platform))/.*\\.h$', name):
            place = name
        elif name in names:
            place = names[name]
        else:
            continue
        path = os.path.join(target, place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with archive.open(entry) as source, open(path, 'wb') as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
`

// tfjs-node 4.22 looks for the first name, which holds the version that it would download; the linker and the loader for the others.
const ALIASES = {
  'libtensorflow.so.2': 'libtensorflow.so.2.9.1',
  'libtensorflow.so': 'libtensorflow.so.2.9.1',
  'libtensorflow_cc.so.2': 'libtensorflow.so.2.9.1',
  'libtensorflow_framework.so': 'libtensorflow_framework.so.2',
}

/**
 * Unpacks a wheel's C library into a folder `lib`, and its headers into a folder `include`; does nothing where that has been done. Needs python3.
 *
 * @param {string} wheel
 * @param {string} folder made where it is missing
 */
export function unpackWheel(wheel, folder) {
  if (existsSync(folder)) return
  const half = `${folder}.half`
  rmSync(half, { recursive: true, force: true })
  mkdirSync(join(half, 'lib'), { recursive: true })
  output('python3', ['-c', UNPACK, wheel, half])
  for (const [alias, library] of Object.entries(ALIASES)) symlinkSync(library, join(half, 'lib', alias))
  // Under its name only once it is whole.
  renameSync(half, folder)
}
