import { reference } from '../src/reference/reference-backend.js'
import { describeBackend } from '../src/testing/vitest.js'

describeBackend('reference', { create: () => reference() })
