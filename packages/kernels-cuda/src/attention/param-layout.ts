import { ParamWriter } from '../driver/param-writer.js'

/** C types of a parameter struct's members: an address, `int64_t`, `int` and `float`. */
export type FieldKind = 'pointer' | 'i64' | 'i32' | 'f32'

/** Members of a kernel's parameter struct in the order of the C source; a nested struct is a layout of its own. */
export interface ParamLayout {
  readonly [field: string]: FieldKind | ParamLayout
}

/** A value for each member: addresses as bigint (0n is null), everything else as numbers. */
export type ParamValues<L extends ParamLayout> = {
  readonly [F in keyof L]: L[F] extends 'pointer' ? bigint : L[F] extends ParamLayout ? ParamValues<L[F]> : number
}

/** Packs a parameter struct as the kernel reads it. */
export function packParams<L extends ParamLayout>(layout: L, values: ParamValues<L>): Uint8Array {
  const writer = new ParamWriter()
  writeFields(writer, layout, values as ParamValues<ParamLayout>)
  return writer.end()
}

function writeFields(writer: ParamWriter, layout: ParamLayout, values: ParamValues<ParamLayout>): void {
  for (const [field, kind] of Object.entries(layout)) {
    const value = values[field]
    if (typeof kind === 'object') writeFields(writer, kind, value as unknown as ParamValues<ParamLayout>)
    else if (kind === 'pointer') writer.pointer(value as unknown as bigint)
    else if (kind === 'i64') writer.i64(value as unknown as number)
    else if (kind === 'i32') writer.i32(value as unknown as number)
    else writer.f32(value as unknown as number)
  }
}
