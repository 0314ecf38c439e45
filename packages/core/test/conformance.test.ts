import { reference } from '../src/reference/reference-backend.js'
import { conformanceCases } from '../src/testing/index.js'
import { describeBackend } from '../src/testing/vitest.js'

/** Cases of more work are left out in 16-bit types where the same one runs in f32: the reference then computes the same, in float64, of rounded inputs. */
const SMALL_FLOPS = 2e6

const cases = conformanceCases()
const names = new Set(cases.map(({ name }) => name))
const chosen = cases.filter(({ name, flops }) => flops <= SMALL_FLOPS || name.startsWith('f32/') || !names.has(name.replace(/^\w+/, 'f32')))

// PHSA_REFERENCE_CASES=all runs every case.
const filter = process.env.PHSA_REFERENCE_CASES === 'all' ? '*' : chosen.map(({ name }) => name)
describeBackend('reference', { create: () => reference(), filter })
