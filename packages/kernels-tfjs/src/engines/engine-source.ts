import type { EngineName } from '../engine.js'

/** Where an engine comes from. */
export interface EngineSource {
  readonly name: EngineName
  /** The npm package that it is in. */
  readonly packageName: string
  /** Its name in TensorFlow.js's registry. */
  readonly registeredName: string
  /** Its rank in TensorFlow.js's own choice where nobody has set an engine. */
  readonly priority: number
  /** Loads the package that registers the engine. Returns the reason, a short one, where that cannot be. */
  load(): Promise<string | undefined>
  /** What a started engine computes on where its name does not say it, with a space before. */
  place?(): string
  /** What every call of a started engine is wrapped in. */
  around?<T>(body: () => T): T
  /** Of a started engine on a device that can go away: settles with the reason when it does. */
  lost?(): Promise<string>
  /** Of such an engine, current: rejects where the device is gone, and what was read from it may be wrong. */
  settled?(): Promise<void>
}
