export * from './element-types.js'
export * from './parse-safetensors.js'
export * from './serialize-safetensors.js'
