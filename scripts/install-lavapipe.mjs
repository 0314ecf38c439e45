// Fetches Mesa's lavapipe, Vulkan in software with f16, for the tests of kernels-webgpu: into node_modules/.cache/lavapipe, without changing the system.
// For Debian and Ubuntu; it needs apt-get and its package servers, and says why where it cannot. Nothing fails without it: those tests are skipped.
//
//   node scripts/install-lavapipe.mjs
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { output, root } from './command.mjs'

/** The release whose own Mesa is too old: its newer one is in backports. */
const OLD_RELEASE = 'bookworm'
const PACKAGE = 'mesa-vulkan-drivers'

const cache = join(root, 'node_modules/.cache/lavapipe')
const manifest = join(cache, 'lavapipe.json')

/** Installs lavapipe, or says why not. @returns true: what needs it is skipped without it */
export function installLavapipe() {
  if (existsSync(manifest)) {
    console.log(`lavapipe is there: ${manifest}`)
    return true
  }
  const temporary = mkdtempSync(join(tmpdir(), 'phsa-lavapipe-'))
  try {
    if (process.platform !== 'linux') throw new Error(`it comes from a Linux package; this is ${process.platform}`)
    console.log(`lavapipe is there now: ${install(temporary)}`)
  } catch (error) {
    rmSync(cache, { recursive: true, force: true })
    console.log(`skipped: lavapipe cannot be installed (${error instanceof Error ? error.message.split('\n')[0] : error})`)
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
  return true
}

/**
 * Unpacks the driver and writes a manifest that names it by its whole path.
 *
 * @param {string} temporary
 * @returns {string} the manifest
 */
function install(temporary) {
  const release = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
  for (const folder of ['lists/partial', 'archives/partial', 'unpacked']) mkdirSync(join(temporary, folder), { recursive: true })
  const apt = [`-oDir::State::Lists=${join(temporary, 'lists')}`, `-oDir::Cache=${temporary}`]
  if (release === OLD_RELEASE) {
    writeFileSync(join(temporary, 'sources.list'), `deb ${mirror(release)} ${release}-backports main\n`)
    apt.push(`-oDir::Etc::SourceList=${join(temporary, 'sources.list')}`, '-oDir::Etc::SourceParts=-')
  }
  output('apt-get', [...apt, 'update'])
  output('apt-get', [...apt, 'download', PACKAGE], { cwd: temporary })
  const archive = readdirSync(temporary).find((name) => name.startsWith(PACKAGE))
  if (!archive) throw new Error(`apt-get download left no ${PACKAGE}`)
  output('dpkg-deb', ['--extract', join(temporary, archive), join(temporary, 'unpacked')])

  const files = readdirSync(join(temporary, 'unpacked'), { recursive: true, encoding: 'utf8' })
  const library = files.find((name) => name.endsWith('libvulkan_lvp.so'))
  const original = files.find((name) => /lvp_icd.*\.json$/.test(name))
  if (!library || !original) throw new Error(`${archive} holds no lavapipe`)
  const missing = output('ldd', [join(temporary, 'unpacked', library)]).match(/\S+(?= => not found)/g)
  if (missing) throw new Error(`it needs ${missing.join(', ')}`)
  mkdirSync(dirname(manifest), { recursive: true })
  output('cp', [join(temporary, 'unpacked', library), cache])
  const { ICD, ...rest } = JSON.parse(readFileSync(join(temporary, 'unpacked', original), 'utf8'))
  writeFileSync(manifest, JSON.stringify({ ...rest, ICD: { ...ICD, library_path: join(cache, 'libvulkan_lvp.so') } }))
  return manifest
}

/**
 * Where this system takes its packages from.
 *
 * @param {string} release
 * @returns {string}
 */
function mirror(release) {
  const folder = '/etc/apt/sources.list.d'
  const files = ['/etc/apt/sources.list', ...(existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [])]
  const text = files
    .filter((file) => existsSync(file))
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n')
  const found = new RegExp(`^URIs: *(\\S+)\\nSuites: *${release}\\b|^deb +(?:\\[.*\\] +)?(\\S+) +${release} `, 'm').exec(text)
  if (!found) throw new Error(`no package server for ${release} is configured`)
  return found[1] ?? found[2]
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) installLavapipe()
