import { describeBackend } from '@phsa/core/testing/vitest'
import { vi } from 'vitest'
import { chosenCases, NODE_CASES } from './chosen-cases.js'
import { openWebgpu } from './open-webgpu.js'

// Software adapters compile for seconds, on a busy machine for minutes.
vi.setConfig({ testTimeout: 300_000 })

// On SwiftShader, or on the GPU whose driver VK_DRIVER_FILES names. Without any of this is skipped with the reason; PHSA_REQUIRE_BACKEND=webgpu makes that a failure.
describeBackend('webgpu', { create: () => openWebgpu('swiftshader'), filter: chosenCases('PHSA_WEBGPU_CASES', NODE_CASES) })
