/** Types of a parameter struct's members. */
export type FieldKind = 'u32' | 'i32' | 'f32'

/** Members of a kernel's parameter struct in the order of the WGSL source; a nested struct, a multiple of 16 bytes, is a layout of its own. */
export interface ParamLayout {
  readonly [field: string]: FieldKind | ParamLayout
}

/** A number for each member. */
export type ParamValues<L extends ParamLayout> = {
  readonly [F in keyof L]: L[F] extends ParamLayout ? ParamValues<L[F]> : number
}

/** Packs a parameter struct as the kernel reads it. */
export function packParams<L extends ParamLayout>(layout: L, values: ParamValues<L>): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(Math.ceil(membersOf(layout) / 4) * 16))
  write(layout, values as ParamValues<ParamLayout>, view, 0)
  return new Uint8Array(view.buffer)
}

function membersOf(layout: ParamLayout): number {
  let count = 0
  for (const field in layout) {
    const kind = layout[field]
    count += typeof kind === 'object' ? membersOf(kind) : 1
  }
  return count
}

/** Returns where the struct ends. */
function write(layout: ParamLayout, values: ParamValues<ParamLayout>, view: DataView, start: number): number {
  let offset = start
  for (const field in layout) {
    const kind = layout[field]
    if (typeof kind === 'object') {
      offset = write(kind, values[field] as unknown as ParamValues<ParamLayout>, view, offset)
      continue
    }
    const value = values[field] as number
    if (kind === 'f32') view.setFloat32(offset, value, true)
    else if (kind === 'i32') view.setInt32(offset, value, true)
    else view.setUint32(offset, value, true)
    offset += 4
  }
  return offset
}
