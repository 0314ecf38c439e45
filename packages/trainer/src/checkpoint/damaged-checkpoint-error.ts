import { InvalidFileError } from '@phsa/core'

/** A file of a checkpoint is missing, or is not what was written; the message names it. */
export class DamagedCheckpointError extends InvalidFileError {
  /** Folder of the checkpoint. */
  readonly checkpoint: string

  constructor(checkpoint: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.checkpoint = checkpoint
  }
}
