import { expose } from 'comlink'
import { WorkerLab } from './lab.js'

// The thread of the model: everything that computes runs here, so that the page never waits.
expose(new WorkerLab())
