import { describeBackend } from '@phsa/core/testing/vitest'
import { vi } from 'vitest'
import { chosenCases, LAVAPIPE_CASES } from './chosen-cases.js'
import { openWebgpu } from './open-webgpu.js'

// Software adapters compile for seconds, on a busy machine for minutes.
vi.setConfig({ testTimeout: 300_000 })

// On lavapipe, which has f16 and subgroups of eight. Without it all of this is skipped with the reason.
describeBackend('webgpu-f16', { create: () => openWebgpu('lavapipe'), filter: chosenCases('PHSA_LAVAPIPE_CASES', LAVAPIPE_CASES) })
