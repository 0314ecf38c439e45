/** Values of one stream on their way to a single reader, up to a limit of unread ones. */
export class EventQueue<T> {
  readonly #limit: number
  readonly #full: () => Error
  #values: T[] = []
  #error: { readonly reason: unknown } | undefined
  #reader: { readonly resolve: (value: T) => void; readonly reject: (reason: unknown) => void } | undefined

  /** @param full the error that ends the stream when more than `limit` values are unread */
  constructor(limit: number, full: () => Error) {
    this.#limit = limit
    this.#full = full
  }

  /** False once the stream has failed: whoever fills it may stop. */
  push(value: T): boolean {
    if (this.#error) return false
    if (this.#reader) {
      this.#reader.resolve(value)
      this.#reader = undefined
      return true
    }
    if (this.#values.length >= this.#limit) {
      this.fail(this.#full())
      return false
    }
    this.#values.push(value)
    return true
  }

  /** Ends the stream with an error, before what is unread; the first one counts. */
  fail(reason: unknown): void {
    if (this.#error) return
    this.#error = { reason }
    this.#values = []
    this.#reader?.reject(reason)
    this.#reader = undefined
  }

  /** The next value, when it is there. One reader at a time. */
  next(): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#error) reject(this.#error.reason)
      else if (this.#values.length > 0) resolve(this.#values.shift()!)
      else this.#reader = { resolve, reject }
    })
  }
}
