// A part of `npm run version-packages`.
import { root } from '../command.mjs'
import { raisePeerRanges } from './peer-ranges.js'

raisePeerRanges(root)
