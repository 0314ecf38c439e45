import { bytesPerElement, type Tensor } from '@phsa/core'
import type { ElementType, ShaderPart } from '../device/shader-part.js'

/** Elements that a thread takes at once: four where every row is so many, whole. */
export type VectorSize = 1 | 4

/** The vector size for rows of a width. */
export function vectorOf(width: number): VectorSize {
  return width % 4 === 0 ? 4 : 1
}

/** Element type of a tensor of floats; those of this backend are of two types. */
export function elementTypeOf({ dtype }: Tensor): ElementType {
  return dtype === 'f16' ? 'f16' : 'f32'
}

/** Bytes of one row, or of one element of a tensor without rows. */
export function rowBytes({ dtype, shape }: Tensor): number {
  return (shape.length > 1 ? shape[shape.length - 1] : 1) * bytesPerElement[dtype]
}

/**
 * What a thread takes at once, by the vector size: `Vector` for f32 arithmetic, `ElementVector` in memory. `totalOf` adds a vector up, `componentOf` picks one
 * of its VECTOR numbers.
 */
export const VECTOR_TYPES: Readonly<Record<VectorSize, ShaderPart>> = { 1: typesPart(1), 4: typesPart(4) }

/** VECTOR_TYPES with a further element type in memory, by which it is: of a `Weight` there is `WeightVector`. */
export function vectorTypesWith(name: string): Readonly<Record<ElementType, Readonly<Record<VectorSize, ShaderPart>>>> {
  const of = (type: ElementType) => ({ 1: typesPart(1, { name, type }), 4: typesPart(4, { name, type }) })
  return { f32: of('f32'), f16: of('f16') }
}

function typesPart(vector: VectorSize, other?: { readonly name: string; readonly type: ElementType }): ShaderPart {
  const wide = (type: string) => (vector === 1 ? type : `vec${vector}<${type}>`)
  const isWide = vector > 1
  const lines = [
    `const VECTOR = ${vector}u;`,
    `alias Vector = ${wide('f32')};`,
    `alias ElementVector = ${wide('Element')};`,
    ...(other ? [`alias ${other.name} = ${other.type};`, `alias ${other.name}Vector = ${wide(other.type)};`] : []),
    `fn totalOf(value: Vector) -> f32 { return ${isWide ? 'dot(value, Vector(1.0))' : 'value'}; }`,
    `fn componentOf(value: Vector, index: u32) -> f32 { return ${isWide ? 'value[index]' : 'value'}; }`,
  ]
  return { file: `types of ${vector}${other ? `, ${other.name} ${other.type}` : ''}`, source: `${lines.join('\n')}\n` }
}
