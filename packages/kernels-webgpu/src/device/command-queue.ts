import { type DeviceBuffer, MOST_PARAM_BYTES } from './kernel-launch.js'

/** What is queued on the device, in order. */
export type Command =
  | {
      readonly kind: 'dispatch'
      readonly pipeline: GPUComputePipeline
      readonly tensors: GPUBindGroup
      readonly params: Uint8Array<ArrayBuffer>
      readonly grid: readonly [number, number, number]
      /** Buffers that it changes. */
      readonly written: readonly DeviceBuffer[]
    }
  | {
      readonly kind: 'copy'
      readonly source: GPUBuffer
      readonly sourceOffset: number
      readonly target: GPUBuffer
      readonly targetOffset: number
      readonly bytes: number
      readonly written: readonly DeviceBuffer[]
    }
  | {
      readonly kind: 'clear'
      readonly target: GPUBuffer
      readonly offset: number
      readonly bytes: number
      readonly written: readonly DeviceBuffer[]
    }

/** Commands that are submitted together: a submission costs more than a dispatch, and the device should not wait for the last one. */
const COMMANDS_AT_ONCE = 128

/** Commands that can be queued again and again, with their parameters on the device. */
export interface RecordedCommands {
  readonly commands: readonly Command[]
  /** Binds their parameters. */
  readonly params: GPUBindGroup
  /** Every buffer that one of them changes. */
  readonly written: ReadonlySet<DeviceBuffer>
  /** Frees the parameters. Releasing twice is allowed. */
  release(): void
}

/**
 * Commands in order, submitted in batches. The parameters of a batch lie in one uniform buffer that is written before it: the device's queue
 * runs writes and batches in the order of these calls, so that the next batch may write the same places.
 */
export class CommandQueue {
  /** Layout of a kernel's parameters, group 1 of every pipeline. */
  readonly paramsLayout: GPUBindGroupLayout
  readonly #device: GPUDevice
  readonly #staged = new Uint8Array(COMMANDS_AT_ONCE * MOST_PARAM_BYTES)
  readonly #uniforms: GPUBuffer
  readonly #params: GPUBindGroup
  /** Parameters of recordings. */
  readonly #kept = new Set<GPUBuffer>()
  #pending: Command[] = []
  #recorded: Command[] | undefined

  constructor(device: GPUDevice) {
    this.#device = device
    const buffer = { type: 'uniform', hasDynamicOffset: true, minBindingSize: MOST_PARAM_BYTES } as const
    this.paramsLayout = device.createBindGroupLayout({ entries: [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer }] })
    this.#uniforms = this.#createUniforms(COMMANDS_AT_ONCE)
    this.#params = this.#bind(this.#uniforms)
  }

  /** Queues a command, which changes its buffers from now on. */
  push(command: Command): void {
    for (const buffer of command.written) buffer.version++
    if (this.#recorded) {
      this.#recorded.push(command)
      return
    }
    if (command.kind === 'dispatch') this.#staged.set(command.params, this.#pending.length * MOST_PARAM_BYTES)
    this.#pending.push(command)
    if (this.#pending.length >= COMMANDS_AT_ONCE) this.flush()
  }

  /** Whether a step is recorded now. */
  get recording(): boolean {
    return this.#recorded !== undefined
  }

  /** From now on commands are recorded and do not run, until `endRecording`. */
  beginRecording(): void {
    this.#recorded = []
  }

  /** The commands since `beginRecording`. */
  endRecording(): readonly Command[] {
    const recorded = this.#recorded ?? []
    this.#recorded = undefined
    return recorded
  }

  /** Prepares commands for `replay`. */
  keep(commands: readonly Command[]): RecordedCommands {
    const uniforms = this.#createUniforms(Math.max(1, commands.length))
    const staged = new Uint8Array(commands.length * MOST_PARAM_BYTES)
    const written = new Set<DeviceBuffer>()
    commands.forEach((command, index) => {
      if (command.kind === 'dispatch') staged.set(command.params, index * MOST_PARAM_BYTES)
      for (const buffer of command.written) written.add(buffer)
    })
    this.#device.queue.writeBuffer(uniforms, 0, staged)
    this.#kept.add(uniforms)
    const release = () => {
      if (this.#kept.delete(uniforms)) uniforms.destroy()
    }
    return { commands, params: this.#bind(uniforms), written, release }
  }

  /** Submits recorded commands behind what is queued. */
  replay({ commands, params, written }: RecordedCommands): void {
    for (const buffer of written) buffer.version++
    if (this.#recorded) {
      this.#recorded.push(...commands)
      return
    }
    this.flush()
    for (let start = 0; start < commands.length; start += COMMANDS_AT_ONCE) {
      this.#submit(commands, start, Math.min(start + COMMANDS_AT_ONCE, commands.length), params)
    }
  }

  /** Submits what is queued. */
  flush(): void {
    const commands = this.#pending
    if (commands.length === 0) return
    this.#pending = []
    this.#device.queue.writeBuffer(this.#uniforms, 0, this.#staged, 0, commands.length * MOST_PARAM_BYTES)
    this.#submit(commands, 0, commands.length, this.#params)
  }

  close(): void {
    this.#pending = []
    this.#uniforms.destroy()
    for (const uniforms of this.#kept) uniforms.destroy()
    this.#kept.clear()
  }

  #submit(commands: readonly Command[], start: number, end: number, params: GPUBindGroup): void {
    const encoder = this.#device.createCommandEncoder()
    let pass: GPUComputePassEncoder | undefined
    let pipeline: GPUComputePipeline | undefined
    for (let index = start; index < end; index++) {
      const command = commands[index]
      if (command.kind === 'dispatch') {
        if (!pass) {
          pass = encoder.beginComputePass()
          pipeline = undefined
        }
        // Each of these calls leaves JavaScript, which is most of what a command costs.
        if (command.pipeline !== pipeline) pass.setPipeline(command.pipeline)
        pipeline = command.pipeline
        pass.setBindGroup(0, command.tensors)
        pass.setBindGroup(1, params, [index * MOST_PARAM_BYTES])
        pass.dispatchWorkgroups(command.grid[0], command.grid[1], command.grid[2])
        continue
      }
      pass?.end()
      pass = undefined
      if (command.kind === 'copy') {
        encoder.copyBufferToBuffer(command.source, command.sourceOffset, command.target, command.targetOffset, command.bytes)
      } else {
        encoder.clearBuffer(command.target, command.offset, command.bytes)
      }
    }
    pass?.end()
    this.#device.queue.submit([encoder.finish()])
  }

  #createUniforms(commands: number): GPUBuffer {
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST
    return this.#device.createBuffer({ label: 'parameters of kernels', size: commands * MOST_PARAM_BYTES, usage })
  }

  #bind(buffer: GPUBuffer): GPUBindGroup {
    const resource = { buffer, size: MOST_PARAM_BYTES }
    return this.#device.createBindGroup({ layout: this.paramsLayout, entries: [{ binding: 0, resource }] })
  }
}
