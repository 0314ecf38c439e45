import { fileURLToPath } from 'node:url'
import { launchRanks } from '../../src/launch/launch-ranks.js'

// A launcher in a process of its own, to be interrupted or killed. Arguments: what each rank does; see rank-child.mjs.
const behaviours = process.argv.slice(2)
const child = fileURLToPath(new URL('rank-child.mjs', import.meta.url))
process.exitCode = await launchRanks({ command: process.execPath, args: [child, ...behaviours], size: behaviours.length })
