import { ParamWriter } from '../driver/param-writer.js'

/** C types of a parameter struct's members: an address, `int64_t`, `int` and `float`. */
export type FieldKind = 'pointer' | 'i64' | 'i32' | 'f32'

/** An array of structs: what each is, and how many there are. */
export type ArrayKind = readonly [ParamLayout, number]

/** Members of a kernel's parameter struct in the order of the C source; a nested struct is a layout of its own. */
export interface ParamLayout {
  readonly [field: string]: FieldKind | ParamLayout | ArrayKind
}

/** A value for each member: addresses as bigint (0n is null), as many structs of an array as are used, and everything else as numbers. */
export type ParamValues<L extends ParamLayout> = {
  readonly [F in keyof L]: L[F] extends 'pointer'
    ? bigint
    : L[F] extends readonly [infer Element extends ParamLayout, number]
      ? readonly ParamValues<Element>[]
      : L[F] extends ParamLayout
        ? ParamValues<L[F]>
        : number
}

/** Packs a parameter struct as the kernel reads it; what of an array is not used is zeros. */
export function packParams<L extends ParamLayout>(layout: L, values: ParamValues<L>): Uint8Array {
  const writer = new ParamWriter()
  writeFields(writer, layout, values as ParamValues<ParamLayout>)
  return writer.end()
}

function writeFields(writer: ParamWriter, layout: ParamLayout, values: ParamValues<ParamLayout>): void {
  for (const [field, kind] of Object.entries(layout)) writeField(writer, kind, values[field])
}

function writeField(writer: ParamWriter, kind: ParamLayout[string], value: unknown): void {
  if (isArray(kind)) {
    const [element, count] = kind
    const used = value as readonly ParamValues<ParamLayout>[]
    if (used.length > count) throw new RangeError(`an array of a parameter struct has room for ${count} structs, not ${used.length}.`)
    for (const values of used) writeFields(writer, element, values)
    for (let index = used.length; index < count; index++) writeZeros(writer, element)
  } else if (typeof kind === 'object') writeFields(writer, kind, value as ParamValues<ParamLayout>)
  else if (kind === 'pointer') writer.pointer(value as bigint)
  else if (kind === 'i64') writer.i64(value as number)
  else if (kind === 'i32') writer.i32(value as number)
  else writer.f32(value as number)
}

function writeZeros(writer: ParamWriter, layout: ParamLayout): void {
  for (const kind of Object.values(layout)) {
    if (isArray(kind)) writeField(writer, kind, [])
    else if (typeof kind === 'object') writeZeros(writer, kind)
    else writeField(writer, kind, kind === 'pointer' ? 0n : 0)
  }
}

function isArray(kind: ParamLayout[string]): kind is ArrayKind {
  return Array.isArray(kind)
}
