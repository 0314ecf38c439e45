import type { Support } from '../contract/attention-backend.js'
import type { AttentionSpec } from '../contract/attention-spec.js'
import type { Tensor } from '../contract/tensor.js'

/** What the checks need to know of the backend whose inputs they check. */
export interface TensorOwner {
  /** Name for messages, as in `AttentionBackend.name`. */
  readonly name: string
  /** The identity that its tensors and caches carry as `backend`. */
  readonly backend: object
  supports(spec: AttentionSpec): Support
  isDisposed(tensor: Tensor): boolean
}
