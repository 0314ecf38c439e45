import { type Binding, MOST_PARAM_BYTES, PARAMS_BINDING } from './kernel-launch.js'
import { type ElementType, type Kernel, type ShaderPart, type ShaderText, shaderText } from './shader-part.js'

/** What a pipeline is compiled for. */
export interface PipelineSpecification {
  readonly kernel: Kernel
  readonly element: ElementType
  readonly constants: Readonly<Record<string, number>>
  readonly bindings: readonly Pick<Binding, 'access'>[]
}

/** A compiled kernel. */
export interface Pipeline {
  readonly pipeline: GPUComputePipeline
  readonly tensors: GPUBindGroupLayout
}

/** Pipelines of kernels whose parts begin alike. Looked up by the parts themselves: to put their names together would cost as much as the rest of a launch. */
interface Kernels {
  readonly next: Map<ShaderPart, Kernels>
  readonly pipelines: Map<string, CheckedPipeline>
}

/** A pipeline, and what is wrong with it once that is known. */
interface CheckedPipeline extends Pipeline {
  error?: Error
}

/** A shader with its text. */
interface CompiledModule {
  readonly module: GPUShaderModule
  readonly text: ShaderText
}

/** Compiled kernels of one device, by specification: each is compiled once. */
export class Pipelines {
  readonly #device: GPUDevice
  readonly #fail: (error: Error) => void
  readonly #layouts = new Map<string, { tensors: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>()
  readonly #modules = new Map<string, CompiledModule>()
  readonly #kernels: Kernels = { next: new Map(), pipelines: new Map() }
  readonly #checks = new Set<Promise<unknown>>()

  /**
   * @param fail takes what is wrong with a shader, with file and line
   */
  constructor(device: GPUDevice, fail: (error: Error) => void) {
    this.#device = device
    this.#fail = fail
  }

  /** The pipeline of a specification, compiled now where it is new. What is wrong with it is told later, and again each time that it is asked for. */
  get(specification: PipelineSpecification): Pipeline {
    const key = keyOf(specification)
    const pipelines = this.#pipelinesOf(specification.kernel)
    const known = pipelines.get(key)
    if (known) {
      if (known.error) this.#fail(known.error)
      return known
    }
    this.#device.pushErrorScope('validation')
    const { descriptor, text } = this.#descriptor(specification)
    const { tensors } = this.#layout(specification.bindings)
    const made: CheckedPipeline = { pipeline: this.#device.createComputePipeline(descriptor), tensors }
    pipelines.set(key, made)
    this.#check(
      this.#device.popErrorScope().then(async (error) => {
        if (!error) return
        made.error = await errorOf(specification, descriptor.compute.module, text, error.message)
        this.#fail(made.error)
      }),
    )
    return made
  }

  /** Compiles a specification beside other work. @throws Error with file and line */
  async prepare(specification: PipelineSpecification): Promise<void> {
    const key = keyOf(specification)
    const pipelines = this.#pipelinesOf(specification.kernel)
    if (pipelines.has(key)) return
    this.#device.pushErrorScope('validation')
    const { descriptor, text } = this.#descriptor(specification)
    const { tensors } = this.#layout(specification.bindings)
    const compiled = this.#device.createComputePipelineAsync(descriptor)
    // The reason is that of `compiled`, or the device is lost.
    this.#check(this.#device.popErrorScope())
    try {
      const pipeline = await compiled
      pipelines.set(key, { pipeline, tensors })
    } catch (cause) {
      throw await errorOf(specification, descriptor.compute.module, text, cause instanceof Error ? cause.message : String(cause))
    }
  }

  /** Resolves when it is known whether everything so far compiled. */
  async settled(): Promise<void> {
    if (this.#checks.size > 0) await Promise.all(this.#checks)
  }

  #check(check: Promise<unknown>): void {
    // A device that is lost says so elsewhere.
    const forget = () => void this.#checks.delete(done)
    const done: Promise<void> = check.then(forget, forget)
    this.#checks.add(done)
  }

  #pipelinesOf({ parts }: Kernel): Map<string, CheckedPipeline> {
    let kernels = this.#kernels
    for (const part of parts) {
      let next = kernels.next.get(part)
      if (!next) {
        next = { next: new Map(), pipelines: new Map() }
        kernels.next.set(part, next)
      }
      kernels = next
    }
    return kernels.pipelines
  }

  #descriptor({ kernel, element, constants, bindings }: PipelineSpecification) {
    const { module, text } = this.#module(kernel, element)
    const layout = this.#layout(bindings).pipeline
    return { descriptor: { label: kernel.name, layout, compute: { module, entryPoint: 'main', constants: { ...constants } } }, text }
  }

  #module(kernel: Kernel, element: ElementType): CompiledModule {
    const key = `${element} ${kernel.parts.map(({ file }) => file).join(' ')}`
    const known = this.#modules.get(key)
    if (known) return known
    const text = shaderText(kernel, element)
    const made = { module: this.#device.createShaderModule({ label: kernel.name, code: text.code }), text }
    this.#modules.set(key, made)
    return made
  }

  #layout(bindings: PipelineSpecification['bindings']) {
    const key = accessesKey(bindings)
    const known = this.#layouts.get(key)
    if (known) return known
    const entries = bindings.map(
      ({ access }, binding): GPUBindGroupLayoutEntry => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: access === 'read' ? 'read-only-storage' : 'storage' },
      }),
    )
    const params = { type: 'uniform', hasDynamicOffset: true, minBindingSize: MOST_PARAM_BYTES } as const
    entries.push({ binding: PARAMS_BINDING, visibility: GPUShaderStage.COMPUTE, buffer: params })
    const tensors = this.#device.createBindGroupLayout({ entries })
    const made = { tensors, pipeline: this.#device.createPipelineLayout({ bindGroupLayouts: [tensors] }) }
    this.#layouts.set(key, made)
    return made
  }
}

/** What is wrong with a pipeline: its shader, with file and line, or what the device says. */
async function errorOf(
  { kernel, element }: PipelineSpecification,
  module: GPUShaderModule,
  text: ShaderText,
  message: string,
): Promise<Error> {
  const { messages } = await module.getCompilationInfo()
  const errors = messages.filter(({ type }) => type === 'error')
  const places = errors.map(({ lineNum, linePos, message }) => `${text.placeOf(lineNum)}:${linePos}: ${message}`)
  return new Error(`The shader ${kernel.name} (${element}) does not compile:\n${places.length > 0 ? places.join('\n') : message}`)
}

/** Of a pipeline among those of its kernel. */
function keyOf({ element, constants, bindings }: PipelineSpecification): string {
  let key = element + accessesKey(bindings)
  for (const name in constants) key += `${name}=${constants[name]},`
  return key
}

/** A letter a binding. */
function accessesKey(bindings: PipelineSpecification['bindings']): string {
  let key = ''
  for (const { access } of bindings) key += access === 'read' ? 'r' : 'w'
  return key
}
