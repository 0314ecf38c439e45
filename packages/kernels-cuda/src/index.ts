export * from './cuda.js'
