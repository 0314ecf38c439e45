import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const KERNELS = fileURLToPath(new URL('../../kernels/', import.meta.url))
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/emulation/', import.meta.url))
const FLAGS = ['-O2', '-std=c++17', '-fPIC', '-Wall', '-Wno-unknown-pragmas']

/** Why the emulation cannot be built here, or undefined. */
export function missingCompiler(): string | undefined {
  if (process.platform !== 'linux') return 'the emulation is built on Linux only'
  return spawnSync('g++', ['--version']).status === 0 ? undefined : 'there is no g++ to compile the kernels for the host'
}

/** Compiles the baseline kernels and the emulated driver into a shared library; unchanged files are taken from the last time. */
export async function buildEmulation(): Promise<string> {
  mkdirSync(CACHE, { recursive: true })
  const headers = [...filesOf(KERNELS, '.cuh'), ...filesOf(HERE, '.h')].map((file) => readFileSync(file, 'utf8')).join('')
  const sources = [...filesOf(KERNELS, '.cu').filter(isEmulated), ...filesOf(HERE, '.cpp')]
  const objects: string[] = []
  const waiting = [...sources]
  const work = async () => {
    for (let source = waiting.shift(); source; source = waiting.shift()) objects.push(await compile(source, headers))
  }
  await Promise.all(Array.from({ length: availableParallelism() }, work))
  const library = join(CACHE, `libphsa-emulation-${hash(...objects.sort())}.so`)
  return produce(library, (target) => ['-shared', '-o', target, ...objects])
}

/** Kernels of one generation of GPUs are written in its instructions; the others are made with PHSA_KERNEL. */
function isEmulated(file: string): boolean {
  return !/_sm\d+\.cu$/.test(file) && /PHSA_KERNEL(_AT_ONCE)?\(/.test(readFileSync(file, 'utf8'))
}

function compile(source: string, headers: string): Promise<string> {
  const name = hash(source, readFileSync(source, 'utf8'), headers, ...FLAGS)
  const unit = join(CACHE, `${name}.cpp`)
  // In CUDA each source file is a program of its own: functions of one name may differ between them.
  const body = source.endsWith('.cu') ? `namespace unit_${name} {\n#include "${source}"\n}\n` : `#include "${source}"\n`
  if (!existsSync(unit)) writeFileSync(unit, `#include "${join(HERE, 'cuda-shim.h')}"\n${body}`)
  return produce(join(CACHE, `${name}.o`), (target) => [...FLAGS, '-c', unit, '-o', target])
}

/** Runs g++ for a file that is not there yet. Several test processes may do so at once, so it appears whole. */
async function produce(file: string, args: (target: string) => string[]): Promise<string> {
  if (existsSync(file)) return file
  const target = `${file}.${process.pid}`
  await new Promise<void>((resolve, reject) => {
    const child = spawn('g++', args(target), { stdio: ['ignore', 'inherit', 'pipe'] })
    let text = ''
    child.stderr.on('data', (chunk) => {
      text += chunk
    })
    child.on('error', reject)
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(`g++ failed for ${file}:\n${text}`))))
  })
  renameSync(target, file)
  return file
}

function filesOf(folder: string, ending: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => join(folder, name))
}

function hash(...parts: string[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 16)
}
