import { serialization } from '@tensorflow/tfjs-core'
import { layers } from '@tensorflow/tfjs-layers'

/** How weights start and what holds them back, as every Keras layer takes it: an object, its name, or what `getConfig` wrote of it. */
export type WeightArgs = Pick<
  Parameters<typeof layers.dense>[0],
  'kernelInitializer' | 'kernelRegularizer' | 'kernelConstraint' | 'biasInitializer' | 'biasRegularizer' | 'biasConstraint'
>

/** An initializer, a regularizer or a constraint. */
type KerasObject<Name extends keyof WeightArgs> = Exclude<WeightArgs[Name], string | undefined>

/** `WeightArgs` as objects; undefined where there is none. */
export type WeightObjects = { readonly [Name in keyof WeightArgs]: KerasObject<Name> }

/** Makes objects of what was given. @throws Keras's ValueError for a name that it does not know */
export function weightObjects(args: WeightArgs): WeightObjects {
  return {
    kernelInitializer: kerasObject('kernelInitializer', args.kernelInitializer ?? 'glorotUniform'),
    kernelRegularizer: kerasObject('kernelRegularizer', args.kernelRegularizer),
    kernelConstraint: kerasObject('kernelConstraint', args.kernelConstraint),
    biasInitializer: kerasObject('biasInitializer', args.biasInitializer ?? 'zeros'),
    biasRegularizer: kerasObject('biasRegularizer', args.biasRegularizer),
    biasConstraint: kerasObject('biasConstraint', args.biasConstraint),
  }
}

/** The reverse, as `getConfig` writes it: `{ className, config }` of each, or null. */
export function weightConfig(objects: WeightObjects): serialization.ConfigDict {
  return Object.fromEntries(
    Object.entries(objects).map(([name, object]) => [
      name,
      object ? { className: object.getClassName(), config: object.getConfig() } : null,
    ]),
  )
}

function kerasObject<Name extends keyof WeightArgs>(name: Name, given: WeightArgs[Name] | null): KerasObject<Name> | undefined {
  if (given === undefined || given === null) return undefined
  if (given instanceof serialization.Serializable) return given as KerasObject<Name>
  // TensorFlow.js shows no parser of its own, but Dense takes the same and writes it out in full. Named, so that it uses up no automatic name.
  const { className, config } = layers.dense({ units: 1, name, [name]: given }).getConfig()[name] as {
    className: string
    config: serialization.ConfigDict
  }
  const [serializable, fromConfig] = serialization.SerializationMap.getMap().classNameMap[className]
  return fromConfig(serializable, config) as KerasObject<Name>
}
