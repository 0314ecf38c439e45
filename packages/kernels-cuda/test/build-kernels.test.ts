import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { findNvcc } from '../scripts/find-nvcc.mjs'
import { readKernelArchive } from '../src/driver/kernel-archive.js'

/** Writes its arguments as the fatbin, and names one kernel a file as ptxas does. */
const FAKE_NVCC = `#!/bin/sh
if [ "$1" = --version ]; then echo 'Cuda compilation tools, release 13.0, V13.0.2'; exit; fi
for last; do :; done
all=$*
while [ "$1" != -o ]; do shift; done
echo "$all" > "$2"
name=\${last##*/}
echo "ptxas info    : Compiling entry function 'kernel_of_\${name%.cu}' for 'sm_90a'" >&2
`

// A copy of the package with two kernels.
let root: string
const build = (PATH: string, ...options: string[]) =>
  spawnSync(process.execPath, [join(root, 'scripts/build-kernels.mjs'), ...options], {
    env: { ...process.env, PATH, CUDA_HOME: '', CUDA_PATH: '' },
    encoding: 'utf8',
  })

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'phsa-build-'))
  cpSync(fileURLToPath(new URL('../scripts', import.meta.url)), join(root, 'scripts'), { recursive: true })
  for (const folder of ['kernels', 'bin']) mkdirSync(join(root, folder))
  writeFileSync(join(root, 'kernels/a.cu'), 'a')
  writeFileSync(join(root, 'kernels/b_sm90.cu'), 'b')
  writeFileSync(join(root, 'bin/nvcc'), FAKE_NVCC, { mode: 0o755 })
})
afterEach(() => rmSync(root, { recursive: true }))

describe.skipIf(process.platform === 'win32')('with nvcc (here a shell script, so not on Windows)', () => {
  test('a release has code for all GPUs, that of one generation for it alone, and is fresh until a source changes', () => {
    expect(build(join(root, 'bin'), '--release', '--required')).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^2 kernels for sm_80, /),
    })
    const { leastDriver, modules } = readKernelArchive(join(root, 'dist'))
    expect(leastDriver).toBe(13000)
    expect(modules.map(({ name, kernels, targets }) => [name, kernels, targets])).toEqual([
      ['a', ['kernel_of_a'], ['sm_80', 'sm_89', 'sm_90a', 'compute_80']],
      ['b_sm90', ['kernel_of_b_sm90'], ['sm_90a']],
    ])
    const [first, second] = modules.map(({ image }) => new TextDecoder().decode(image))
    expect(first).toMatch(/arch=compute_80,code=sm_80 .*arch=compute_80,code=compute_80 .*a\.cu\n$/)
    expect(second.match(/-gencode/g)).toHaveLength(1)
    expect(build('', '--release', '--required').stdout).toBe('the kernels are fresh, for all GPUs\n')
    writeFileSync(join(root, 'kernels/a.cu'), 'changed')
    expect(build(join(root, 'bin'), '--release', '--required').stdout).toMatch(/^2 kernels/)
  })

  test('what does not compile fails the build with what the compiler says', () => {
    writeFileSync(join(root, 'bin/nvcc'), FAKE_NVCC.replace(/^all=.*/m, 'echo "a.cu(1): error" >&2; exit 2'), { mode: 0o755 })
    expect(build(join(root, 'bin'))).toMatchObject({ status: 1, stderr: expect.stringMatching(/exited with 2\na\.cu\(1\): error/) })
  })
})

const installed = findNvcc({}) !== undefined
describe.skipIf(installed)(`without nvcc${installed ? ' (skipped: it is in a usual place here)' : ''}`, () => {
  test('a build goes on without kernels, and prepack fails', () => {
    expect(build('')).toMatchObject({ status: 0, stdout: expect.stringMatching(/^CUDA kernels not built: no nvcc\..*build-kernels/) })
    expect(build('', '--release', '--required')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(
        /^The CUDA kernels cannot be published: they were not built, and there is no nvcc; install CUDA toolkit 13/,
      ),
    })
  })
})
