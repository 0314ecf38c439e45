import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { reference } from '../../src/reference/reference-backend.js'
import { ConformanceSession, casePattern, conformanceCases, OracleStore } from '../../src/testing/index.js'
import { attentionMutants } from './attention-mutants.js'
import { type Mutant, mutantBackend } from './mutant.js'
import { opsMutants } from './ops-mutants.js'
import { selectionMutants } from './selection-mutants.js'
import { stateMutants } from './state-mutants.js'

const mutants = [...selectionMutants, ...attentionMutants, ...stateMutants, ...opsMutants]
const sound: Mutant = { name: 'none', caughtBy: [], mutate: () => ({}) }

/** Small cases that between them hold every feature; the whole suite would only be slower. */
const CHOSEN = [
  ...[
    'm16-t17',
    'm16-t101',
    'm8-t53',
    'g3-h1-d128-t77',
    'init0-local16',
    'r2',
    'r4',
    'lambda0',
    'lambda-per-head',
    'dense-below40',
    'ties',
  ],
  ...[
    'dense-below129',
    'packed',
    'packed-m8',
    'packed-empty',
    'chunk-end',
    'chunk-mixed',
    'capacity',
    'capacity-decode',
    'equal-values',
    'trained-packed-r2',
  ],
  // What only a large or steep problem shows, and what else selection and its loss can follow.
  ...[
    'steep',
    'decode-long',
    'chunk-long-m8',
    'logit',
    'logit-r2',
    'overlap-m32',
    'overlap-packed',
    'overlap-packed-capacity',
    'overlap-m64-chunk',
  ],
].map((name) => `f32/*/${name}`)
const FILTERS = [
  ...CHOSEN,
  'f32/paged/splits-g8-d64-m8',
  'f32/paged/mixed-limits',
  'f32/paged/reuse-after-nan',
  'f32/paged/splits',
  'f32/paged/splits-steep',
  'f32/paged/mixed',
  'f32/paged/long',
  'f32/ops/*',
]
const all = conformanceCases()
const chosen = all.filter(({ name }) => FILTERS.some((glob) => casePattern(glob)(name)))

const table: { mutant: string; failing: number; ran: number; examples: readonly string[] }[] = []
const oracles = new OracleStore(await reference(), chosen.length)

/** The cases that a mutant's kernels take part in; the others run the same code as on a sound backend. */
function concerning({ caughtBy }: Mutant): typeof all {
  const kernels = caughtBy.map((glob) => glob.split('/')[1])
  const poisoned = kernels.some((kernel) => kernel.startsWith('attend'))
  return chosen.filter(({ name }) => {
    const kernel = name.split('/')[1]
    return kernels.includes(kernel) || kernels.includes('*') || (poisoned && kernel === 'nan-poison')
  })
}

/** Names of the cases that fail. */
async function failuresOf(mutant: Mutant, cases: typeof all): Promise<string[]> {
  const session = await ConformanceSession.open(async () => mutantBackend(mutant), [], oracles)
  const failing: string[] = []
  for (const conformanceCase of cases) {
    const { name, outcome } = await session.run(conformanceCase)
    if (outcome === 'failed') failing.push(name)
  }
  session.close()
  return failing
}

describe('the suite notices what is wrong', () => {
  test('every filter names cases of the full list, and every kernel is among them', () => {
    for (const glob of FILTERS)
      expect(
        all.some(({ name }) => casePattern(glob)(name)),
        glob,
      ).toBe(true)
    // The reference, which the mutants wrap, has none of the optional parts of the contract.
    const kernels = (cases: typeof all) =>
      new Set(cases.filter(({ dtype, part }) => dtype === 'f32' && !part).map(({ name }) => name.split('/')[1]))
    const untouched = ['errors', 'memory']
    expect([...kernels(chosen), ...untouched].sort()).toEqual([...kernels(all)].sort())
  })

  test('a sound backend passes', async () => {
    expect(await failuresOf(sound, chosen)).toEqual([])
  })

  test.each(mutants.map((mutant) => [mutant.name, mutant] as const))('%s', async (_, mutant) => {
    const cases = concerning(mutant)
    const failing = await failuresOf(mutant, cases)
    table.push({ mutant: mutant.name, failing: failing.length, ran: cases.length, examples: failing.slice(0, 3) })
    for (const glob of mutant.caughtBy) expect(failing.filter(casePattern(glob)), `${glob} must catch it`).not.toEqual([])
    expect(failing.filter((name) => !mutant.caughtBy.some((glob) => casePattern(glob)(name)))).toEqual([])
  })

  afterAll(() => {
    console.table(Object.fromEntries(table.map(({ mutant, failing, ran }) => [mutant, { failing, ran }])))
    if (!process.env.PHSA_WRITE_RESULTS) return
    const folder = fileURLToPath(new URL('../../../../benchmarks/results/', import.meta.url))
    mkdirSync(folder, { recursive: true })
    writeFileSync(`${folder}mutations.json`, `${JSON.stringify({ cases: all.length, chosen: chosen.length, mutants: table }, null, 2)}\n`)
  })
})
