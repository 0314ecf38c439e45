/** Where a model's files come from: a folder, or anything else that gives byte ranges, such as HTTP range requests in a browser. */
export interface ModelFiles {
  /** Name of the whole for errors: a path or an address. */
  readonly label: string
  /** Bytes of a file; undefined where there is none of that name. */
  size(name: string): Promise<number | undefined>
  /** Bytes begin to end - 1 of a file, at the start of a buffer of their own. */
  read(name: string, begin: number, end: number): Promise<Uint8Array>
  /** Where files can be replaced while they are read: @throws InvalidFileError naming one that was, since it was first asked for. */
  requireUnchanged?(): Promise<void>
  close(): Promise<void>
}
