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

/** Commands that can be submitted again and again. */
export interface RecordedCommands {
  readonly commands: readonly Command[]
  /** Their parameters, `MOST_PARAM_BYTES` each. */
  readonly params: Uint8Array<ArrayBuffer>
  /** Every buffer that one of them changes. */
  readonly written: ReadonlySet<DeviceBuffer>
}

/**
 * Commands in order, submitted in batches. The parameters of a batch lie in one uniform buffer that is written before it: the device's queue
 * runs writes and batches in the order of these calls, so that the next batch may write the same places.
 */
export class CommandQueue {
  /** Parameters of the batch that is submitted next: every bind group has it, and a dispatch says where its own begin. */
  readonly params: GPUBuffer
  readonly #device: GPUDevice
  readonly #staged = new Uint8Array(COMMANDS_AT_ONCE * MOST_PARAM_BYTES)
  #pending: Command[] = []
  #recorded: Command[] | undefined

  constructor(device: GPUDevice) {
    this.#device = device
    this.params = device.createBuffer({
      label: 'parameters of kernels',
      size: this.#staged.byteLength,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    })
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
  endRecording(): RecordedCommands {
    const recorded = this.#recorded ?? []
    this.#recorded = undefined
    return recordedCommands(recorded)
  }

  /** Submits recorded commands behind what is queued. */
  replay({ commands, params, written }: RecordedCommands): void {
    for (const buffer of written) buffer.version++
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
    this.#submit(commands, 0, commands.length, this.#staged)
  }

  close(): void {
    this.#pending = []
    this.params.destroy()
  }

  #submit(commands: readonly Command[], start: number, end: number, params: Uint8Array<ArrayBuffer>): void {
    this.#device.queue.writeBuffer(this.params, 0, params, start * MOST_PARAM_BYTES, (end - start) * MOST_PARAM_BYTES)
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
        pass.setBindGroup(0, command.tensors, [(index - start) * MOST_PARAM_BYTES])
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
}

function recordedCommands(commands: readonly Command[]): RecordedCommands {
  const params = new Uint8Array(commands.length * MOST_PARAM_BYTES)
  const written = new Set<DeviceBuffer>()
  commands.forEach((command, index) => {
    if (command.kind === 'dispatch') params.set(command.params, index * MOST_PARAM_BYTES)
    for (const buffer of command.written) written.add(buffer)
  })
  return { commands, params, written }
}
