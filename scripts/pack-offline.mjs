// Makes a folder that runs `phsa` on any 64-bit Linux machine without npm, Node or network, such as a GPU machine: this machine's Node, the
// command in one bundle with the packages it uses, its assets, the CUDA kernels, WebGPU on Vulkan, the fixtures of `phsa verify`, and `bench-attention`,
// `bench-decode`, `bench-step`, `bench-model`, `bench-train`, `bench-serve` and `bench-webgpu`, which measure attention, steps of decoding, a whole model, its training,
// a server and WebGPU on the GPU beside their peers (benchmarks/README.md), and `study`, which trains the models of docs/runs/selection-study.
//
//   node scripts/pack-offline.mjs [--out <folder>] [--no-build]
//
//   --out       where to put it, replaced if it is there (default: offline)
//   --no-build  the packages' dist as they are; without it, `npm run build` first
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from 'tsup'
import { shaderText } from '../packages/kernels-webgpu/scripts/shader-text.mjs'
import { root, succeeds } from './command.mjs'

const { values: options } = parseArgs({ options: { out: { type: 'string', default: 'offline' }, 'no-build': { type: 'boolean' } } })

/** Loaded from node_modules, or not there at all: native code, a script that finds itself by name, and engines that are optional peers. */
const NOT_BUNDLED = ['koffi', 'canvas', '@tensorflow/tfjs-node', '@tensorflow/tfjs-node-gpu', 'webgpu', '@mlc-ai/web-xgrammar']
/** What CommonJS modules of the bundle expect to have. */
const COMMON_JS = `import { createRequire as phsaCreateRequire } from 'node:module'
import { dirname as phsaDirname } from 'node:path'
import { fileURLToPath as phsaFileURLToPath } from 'node:url'
const require = phsaCreateRequire(import.meta.url)
const __filename = phsaFileURLToPath(import.meta.url)
const __dirname = phsaDirname(__filename)`

/** Of the package webgpu, what runs here: WebGPU on Vulkan. */
const DAWN = 'app/node_modules/webgpu/dist/linux-x64/dawn.node'

/** What every starter begins with: its own folder in $here, and Node in $node, unpacked on the first run together with Dawn. */
const UNPACK_NODE = `set -e
here=$(cd -- "$(dirname -- "$0")" && pwd)
node=$here/node
unpack() {
  [ ! -x "$1" ] || return 0
  # Another process may be unpacking too: each into a file of its own, put in place when it is whole.
  if command -v xz >/dev/null 2>&1; then
    xz -dc "$1.xz" >"$1.$$"
  else
    python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1.xz" >"$1.$$"
  fi
  chmod +x "$1.$$"
  mv "$1.$$" "$1"
}
unpack "$node"
unpack "$here/${DAWN}"
`

if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.error(`The bundle runs on linux x64 with this machine's Node; this is ${process.platform} ${process.arch}.`)
  process.exit(1)
}
if (!options['no-build'] && !succeeds('npm', ['run', '--silent', 'build'])) process.exit(1)

const out = resolve(root, options.out)
// Not some other folder that was named by mistake.
if (existsSync(out) && readdirSync(out).length > 0 && !existsSync(join(out, 'phsa'))) {
  console.error(`${out} is there and no bundle; give another --out, or remove it.`)
  process.exit(1)
}
rmSync(out, { recursive: true, force: true })
mkdirSync(join(out, 'app'), { recursive: true })
await bundleCommand()
copyAssets()
copyKoffi()
copyDawn()
copyXGrammar()
pack(process.execPath, join(out, 'node'))
writeStarters()
for (const name of readdirSync(out)) console.log(`${(sizeOf(join(out, name)) / 2 ** 20).toFixed(1).padStart(6)} MiB  ${name}`)
console.log(`${(sizeOf(out) / 2 ** 20).toFixed(1).padStart(6)} MiB  ${out}`)

/** One program of everything but `NOT_BUNDLED`; modules that are imported when they are asked for stay files of their own. */
async function bundleCommand() {
  const cli = join(root, 'apps/cli')
  await build({
    config: false,
    silent: true,
    entry: {
      main: join(cli, 'dist/main.js'),
      // Found beside the program by the names that they have in their packages.
      'encode-process': join(cli, 'dist/encode-process.js'),
      ...Object.fromEntries(
        ['http-worker', 'text-worker', 'constraint-worker'].map((name) => [name, join(root, `packages/server/dist/${name}.js`)]),
      ),
      'bench-attention': join(root, 'benchmarks/attention/main.ts'),
      'bench-decode': join(root, 'benchmarks/decode/main.ts'),
      'bench-step': join(root, 'benchmarks/step/main.ts'),
      'bench-model': join(root, 'benchmarks/model/main.ts'),
      'bench-collective': join(root, 'benchmarks/collective/main.ts'),
      'bench-train': join(root, 'benchmarks/train/main.ts'),
      'bench-trainer': join(root, 'benchmarks/trainer/main.ts'),
      'bench-parallel': join(root, 'benchmarks/parallel/main.ts'),
      'bench-webgpu': join(root, 'benchmarks/webgpu/main.ts'),
      'bench-serve': join(root, 'benchmarks/serve/main.ts'),
      study: join(root, 'benchmarks/study/main.ts'),
      'bench-serve-clients': join(root, 'benchmarks/serve/client-thread.ts'),
    },
    outDir: join(out, 'app/dist'),
    format: 'esm',
    platform: 'node',
    target: 'node20',
    minify: true,
    noExternal: [/./],
    external: NOT_BUNDLED,
    banner: { js: COMMON_JS },
    esbuildPlugins: [shaderText],
  })
  const { name, version } = JSON.parse(readFileSync(join(cli, 'package.json'), 'utf8'))
  writeFileSync(join(out, 'app/package.json'), `${JSON.stringify({ name, version, type: 'module' })}\n`)
}

/** Files that the bundled modules look for beside themselves. */
function copyAssets() {
  const wasm = dirname(createRequire(join(root, 'packages/kernels-tfjs/package.json')).resolve('@tensorflow/tfjs-backend-wasm'))
  for (const name of ['tfjs-backend-wasm.wasm', 'tfjs-backend-wasm-simd.wasm']) cpSync(join(wasm, name), join(out, 'app/dist', name))
  cpSync(join(root, 'apps/cli/assets'), join(out, 'app/assets'), { recursive: true })
  cpSync(join(root, 'fixtures/attention'), join(out, 'fixtures/attention'), { recursive: true })
  cpSync(join(root, 'fixtures/models'), join(out, 'fixtures/models'), { recursive: true })
  for (const name of ['attention.py', 'model.py', 'serve.py', 'sparse_attention.py', 'train.py'])
    cpSync(join(root, 'benchmarks/peers', name), join(out, 'peers', name))
  for (const name of ['phsa-kernels.fatbin', 'phsa-kernels.json']) {
    const file = join(root, 'packages/kernels-cuda/dist', name)
    if (existsSync(file)) cpSync(file, join(out, 'app/dist', name))
    else console.warn(`${name} is not built: the bundle has no CUDA kernels.`)
  }
}

/** Of koffi only what runs here. */
function copyKoffi() {
  const koffi = dirname(createRequire(join(root, 'packages/kernels-cuda/package.json')).resolve('koffi'))
  const native = join(dirname(koffi), '@koromix/koffi-linux-x64')
  const isProgram = (/** @type {string} */ file) => /\.(c?js|json|txt)$/.test(file)
  const modules = join(out, 'app/node_modules')
  for (const file of readdirSync(koffi)) if (isProgram(file)) cpSync(join(koffi, file), join(modules, 'koffi', file))
  for (const file of readdirSync(join(koffi, 'src/koffi'))) {
    if (isProgram(file)) cpSync(join(koffi, 'src/koffi', file), join(modules, 'koffi/src/koffi', file))
  }
  for (const file of ['package.json', 'index.js', 'linux_x64/koffi.node']) {
    cpSync(join(native, file), join(modules, '@koromix/koffi-linux-x64', file))
  }
}

/** A script that finds itself by its package's name. */
function copyXGrammar() {
  const folder = '@mlc-ai/web-xgrammar'
  const main = createRequire(join(root, 'packages/server/package.json')).resolve(folder)
  for (const file of ['package.json', 'lib/index.js']) cpSync(join(dirname(main), '..', file), join(out, 'app/node_modules', folder, file))
}

/** Of the package webgpu only what runs here. */
function copyDawn() {
  const webgpu = dirname(createRequire(join(root, 'packages/kernels-webgpu/package.json')).resolve('webgpu'))
  for (const file of ['package.json', 'index.js']) cpSync(join(webgpu, file), join(out, 'app/node_modules/webgpu', file))
  mkdirSync(join(out, dirname(DAWN)), { recursive: true })
  pack(join(webgpu, 'dist/linux-x64/dawn.node'), join(out, DAWN))
}

/**
 * Compresses a file as `target.xz`: Node and Dawn are most of the bundle.
 *
 * @param {string} file
 * @param {string} target
 */
function pack(file, target) {
  const packed = spawnSync('xz', ['-6', '--stdout', '--threads=0', file], { maxBuffer: 2 ** 30 })
  if (packed.error) throw packed.error
  if (packed.status !== 0) throw new Error(`xz exited with ${packed.status}\n${packed.stderr}`)
  writeFileSync(`${target}.xz`, packed.stdout)
}

/** Shell scripts that start the programs of the bundle. */
function writeStarters() {
  const starters = {
    phsa: `#!/bin/sh
# Runs phsa from this folder: ./phsa doctor; ./phsa selftest --backend cuda; ./phsa verify fixtures/attention --backend cuda
${UNPACK_NODE}exec "$node" "$here/app/dist/main.js" "$@"
`,
    'bench-attention': `#!/bin/sh
# Measures attention on this machine's GPU: ./bench-attention OUT [--small] [--only table|length|top-k]... [--from LENGTH] [--to LENGTH] [--seconds N]
# Leaves OUT/ours.json, and OUT/peers.json where python3 has PyTorch. Under five minutes; --small takes one and only shows that everything works.
# --only measures some rows, --from and --to those of so many tokens; without the table, the peers are dense cuDNN attention at the lengths of the curve. --seconds is for ours alone.
${UNPACK_NODE}usage() {
  echo "usage: bench-attention OUT [--small] [--only table|length|top-k]... [--from LENGTH] [--to LENGTH] [--seconds N]" >&2
  exit 2
}
[ $# -gt 0 ] || usage
out=$1
shift
small= only= seconds= with_table=
while [ $# -gt 0 ]; do
  case "$1 \${2:-}" in
    "--small "*) small=--small ;;
    "--only table" | "--only length" | "--only top-k")
      only="$only --only $2"
      [ "$2" != table ] || with_table=yes
      shift
      ;;
    "--from "[0-9]* | "--to "[0-9]*) only="$only $1 $2" && shift ;;
    "--seconds "[0-9]*) seconds="--seconds $2" && shift ;;
    *) usage ;;
  esac
  shift
done
[ -n "$only" ] || with_table=yes
# The peers of the curves take less of the five minutes.
[ -n "$with_table$seconds" ] || seconds="--seconds 200"
# A run is a folder: peers of one beside ours of another would give factors across clocks.
if [ -e "$out/ours.json" ]; then
  echo "$out holds a run; give another folder, device-report.ts merges several" >&2
  exit 2
fi
mkdir -p "$out"
# PyTorch in the same run, because clocks differ from machine to machine; a peer that is missing must not keep ours from being measured.
peers() {
  python3 "$here/peers/attention.py" --out "$out/$1.json" $small $2 || echo "no $1: python3 with PyTorch and a GPU is needed" >&2
}
if [ -n "$with_table" ]; then peers peers "--seconds 70"; else peers peers "--curves --seconds 60"; fi
code=0
"$node" "$here/app/dist/bench-attention.js" --out "$out/ours.json" --commit "${commit()}" $small $only $seconds || code=$?
[ -z "$with_table" ] || peers peers-flex "--only flex --seconds 25"
exit $code
`,
    'bench-decode': `#!/bin/sh
# Measures steps of decoding over paged caches on this machine's GPU: ./bench-decode OUT [--small] [--seconds N]
# Leaves OUT/decode.json. Under two minutes; --small only shows that everything works.
${UNPACK_NODE}[ $# -gt 0 ] || { echo "usage: bench-decode OUT [--small] [--seconds N]" >&2; exit 2; }
out=$1
shift
mkdir -p "$out"
exec "$node" "$here/app/dist/bench-decode.js" --out "$out/decode.json" --commit "${commit()}" "$@"
`,
    'bench-step': `#!/bin/sh
# Measures a step of decoding of the Qwen3-0.6B shape by its parts on this machine's GPU: ./bench-step OUT [--seconds N]
# Leaves OUT/step.json. About a minute.
${UNPACK_NODE}[ $# -gt 0 ] || { echo "usage: bench-step OUT [--seconds N]" >&2; exit 2; }
out=$1
shift
mkdir -p "$out"
exec "$node" "$here/app/dist/bench-step.js" --out "$out/step.json" --commit "${commit()}" "$@"
`,
    'bench-model': `#!/bin/sh
# Measures a model of the Qwen3-0.6B shape on this machine's GPU: ./bench-model OUT [--small] [--only prefill|train|decode|memory]... [--seconds N]
# Leaves OUT/ours.json, and OUT/peers.json where python3 has PyTorch. Under three minutes; --small only shows that everything works.
# --only measures some rows. --seconds is for ours alone.
${UNPACK_NODE}usage() {
  echo "usage: bench-model OUT [--small] [--only prefill|train|decode|memory]... [--seconds N]" >&2
  exit 2
}
[ $# -gt 0 ] || usage
out=$1
shift
small= only= seconds= peers=
while [ $# -gt 0 ]; do
  case "$1 \${2:-}" in
    "--small "*) small=--small ;;
    "--only prefill" | "--only train" | "--only decode" | "--only memory")
      only="$only --only $2"
      [ "$2" = decode ] || [ "$2" = memory ] || peers="$peers\${peers:+,}$2"
      shift
      ;;
    "--seconds "[0-9]*) seconds="--seconds $2" && shift ;;
    *) usage ;;
  esac
  shift
done
[ -n "$only" ] || peers=prefill,train
# A run is a folder: peers of one beside ours of another would give factors across clocks.
if [ -e "$out/ours.json" ]; then
  echo "$out holds a run; give another folder" >&2
  exit 2
fi
mkdir -p "$out"
# PyTorch in the same run, because clocks differ from machine to machine; a peer that is missing must not keep ours from being measured.
[ -z "$peers" ] || python3 "$here/peers/model.py" --out "$out/peers.json" --only "$peers" $small || echo "no peers: python3 with PyTorch and a GPU is needed" >&2
exec "$node" "$here/app/dist/bench-model.js" --out "$out/ours.json" --commit "${commit()}" $small $only $seconds
`,
    'bench-train': `#!/bin/sh
# Measures training steps of the Qwen3-0.6B shape on this machine's GPU: ./bench-train OUT [--small] [--only 8x4096|1x32768|1x131072]... [--seconds N]
# Leaves OUT/ours.json, and OUT/peers.json where python3 has PyTorch. Under five minutes, most of them PyTorch's; --small only shows that everything works.
# --only measures some steps. --seconds is for ours alone.
${UNPACK_NODE}usage() {
  echo "usage: bench-train OUT [--small] [--only 8x4096|1x32768|1x131072]... [--seconds N]" >&2
  exit 2
}
[ $# -gt 0 ] || usage
out=$1
shift
small= only= seconds= peers=
while [ $# -gt 0 ]; do
  case "$1 \${2:-}" in
    "--small "*) small=--small ;;
    "--only 8x4096" | "--only 1x32768" | "--only 1x131072")
      only="$only --only $2"
      peers="$peers\${peers:+,}$2"
      shift
      ;;
    "--seconds "[0-9]*) seconds="--seconds $2" && shift ;;
    *) usage ;;
  esac
  shift
done
# A run is a folder: peers of one beside ours of another would give factors across clocks.
if [ -e "$out/ours.json" ]; then
  echo "$out holds a run; give another folder" >&2
  exit 2
fi
mkdir -p "$out"
# PyTorch in the same run, because clocks differ from machine to machine; a peer that is missing must not keep ours from being measured.
python3 "$here/peers/train.py" --out "$out/peers.json" \${peers:+--only "$peers"} $small || echo "no peers: python3 with PyTorch and a GPU is needed" >&2
exec "$node" "$here/app/dist/bench-train.js" --out "$out/ours.json" --commit "${commit()}" $small $only $seconds
`,
    'bench-serve': `#!/bin/sh
# Measures a server with a model of the Qwen3-0.6B shape on this machine's GPU: ./bench-serve OUT [--small] [--peer-seconds N] [OPTION]...
# Leaves OUT/ours.json, and OUT/peers.json where python3 has PyTorch. --only NAME (such as 32768x8-dense, or same), --from and --to take some rows;
# --seconds N (150) and --row-seconds N (60) are for ours, --peer-seconds N (150) for PyTorch, 0 leaves it out. --small only shows that everything works.
${UNPACK_NODE}[ $# -gt 0 ] || { echo "usage: bench-serve OUT [--small] [--peer-seconds N] [OPTION]..." >&2; exit 2; }
out=$1
shift
small= peer_seconds=150
if [ "\${1:-}" = --small ]; then small=--small && shift; fi
if [ "\${1:-}" = --peer-seconds ]; then peer_seconds=$2 && shift 2; fi
# A run is a folder: peers of one beside ours of another would give factors across clocks.
if [ -e "$out/ours.json" ]; then
  echo "$out holds a run; give another folder" >&2
  exit 2
fi
mkdir -p "$out"
code=0
"$node" "$here/app/dist/bench-serve.js" --out "$out/ours.json" --commit "${commit()}" $small "$@" || code=$?
# PyTorch in the same run, because clocks differ from machine to machine; a peer that is missing changes nothing about ours.
[ "$peer_seconds" = 0 ] || python3 "$here/peers/serve.py" --out "$out/peers.json" --seconds "$peer_seconds" $small || echo "no peers: python3 with PyTorch and a GPU is needed" >&2
exit $code
`,
    'bench-webgpu': `#!/bin/sh
# Measures WebGPU on this machine's GPU beside CUDA and TensorFlow.js in one run: ./bench-webgpu OUT [--small] [--only products|attention|model]... [--seconds N]
# Leaves OUT/webgpu.json. Under five minutes; --small only shows that everything works. Needs Vulkan: libvulkan.so.1 and the GPU's driver, which
# VK_DRIVER_FILES names where it is elsewhere. On NVIDIA GPUs Dawn allows f16 with these flags only; PHSA_DAWN_FLAGS names others.
${UNPACK_NODE}[ $# -gt 0 ] || { echo "usage: bench-webgpu OUT [--small] [--only products|attention|model]... [--seconds N]" >&2; exit 2; }
out=$1
shift
mkdir -p "$out"
export PHSA_DAWN_FLAGS="\${PHSA_DAWN_FLAGS-enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia}"
exec "$node" "$here/app/dist/bench-webgpu.js" --out "$out/webgpu.json" --commit "${commit()}" "$@"
`,
    'bench-trainer': `#!/bin/sh
# Measures what a moving average, distillation and accumulation cost a training step on this machine's GPU: ./bench-trainer OUT [--small]
# Leaves OUT/trainer.json. Under a minute; --small only shows that everything works.
${UNPACK_NODE}[ $# -gt 0 ] || { echo "usage: bench-trainer OUT [--small]" >&2; exit 2; }
mkdir -p "$1"
exec "$node" "$here/app/dist/bench-trainer.js" --out "$1/trainer.json" --commit "${commit()}" $2
`,
    'bench-parallel': `#!/bin/sh
# Measures data-parallel training of the Qwen3-0.6B shape on this machine's first two GPUs beside one of them, and kills ranks: ./bench-parallel OUT [--small]
# Leaves OUT/parallel.json. About four minutes; --small takes one. NCCL is looked for as the system does; PHSA_NCCL names its file or folder.
${UNPACK_NODE}[ $# -gt 0 ] || { echo "usage: bench-parallel OUT [--small]" >&2; exit 2; }
mkdir -p "$1"
exec "$node" "$here/app/dist/bench-parallel.js" --out "$1/parallel.json" --commit "${commit()}" $2
`,
    'bench-collective': `#!/bin/sh
# Measures sums over this machine's first two GPUs beside NCCL by itself, and kills one of two ranks: ./bench-collective OUT [--small]
# Leaves OUT/collective.json. Under a minute. NCCL is looked for as the system does; PHSA_NCCL names its file or folder.
${UNPACK_NODE}[ $# -gt 0 ] || { echo "usage: bench-collective OUT [--small]" >&2; exit 2; }
mkdir -p "$1"
exec "$node" "$here/app/dist/bench-collective.js" --out "$1/collective.json" --commit "${commit()}" $2
`,
    study: `#!/bin/sh
# Runs the study of docs/runs/selection-study on this machine's GPU, from the repository's root or with its files named:
# ./study run [--seed N] [--branch NAME] [--seconds N] [--config FILE] [--data FOLDER] [--out FOLDER] [--work FOLDER]
# The same command goes on where it was stopped. ./study prepare TRAIN.txt VALID.txt [--tokenizer FOLDER] [--data FOLDER] makes the data.
${UNPACK_NODE}exec "$node" "$here/app/dist/study.js" "$@" --commit "${commit()}"
`,
  }
  for (const [name, text] of Object.entries(starters)) {
    writeFileSync(join(out, name), text)
    chmodSync(join(out, name), 0o755)
  }
}

/** The commit that is packed, and whether tracked files differ from it: the machine that runs the bundle has no checkout. */
function commit() {
  const git = (/** @type {string[]} */ ...args) => spawnSync('git', args, { cwd: root, encoding: 'utf8' }).stdout?.trim() ?? ''
  return `${git('rev-parse', 'HEAD') || 'unknown'}${git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' with uncommitted changes'}`
}

/**
 * Bytes of a file, or of all files of a folder.
 *
 * @param {string} path
 * @returns {number}
 */
function sizeOf(path) {
  const { size } = statSync(path)
  if (!statSync(path).isDirectory()) return size
  return readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0)
}
