import subgroupsSource from '../../kernels/reduce_subgroups.wgsl?raw'
import workgroupSource from '../../kernels/reduce_workgroup.wgsl?raw'
import type { GpuDevice } from './gpu-device.js'
import type { ShaderPart } from './shader-part.js'

const BY_SUBGROUPS: ShaderPart = { file: 'reduce_subgroups.wgsl', source: subgroupsSource, enables: ['subgroups'] }
const BY_WORKGROUP: ShaderPart = { file: 'reduce_workgroup.wgsl', source: workgroupSource }

/** `workgroupSum`, `workgroupSum2` and `workgroupMax` over the 256 threads of a workgroup, in the way that the device offers. */
export function reducePart({ subgroups }: Pick<GpuDevice, 'subgroups'>): ShaderPart {
  return subgroups ? BY_SUBGROUPS : BY_WORKGROUP
}
