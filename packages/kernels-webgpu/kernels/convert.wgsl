// convert.wgsl: copies elements between f32 and f16, one rounding to nearest. Four elements a thread; bound by memory.

struct Params {
  count: u32,
  toElement: u32,  // 1: single to element, 0: element to single
}

@group(0) @binding(0) var<storage, read_write> single: array<f32>;
@group(0) @binding(1) var<storage, read_write> element: array<Element>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) thread: u32) {
  let first = workgroupIndex(id, count) * 1024u + thread;
  for (var index = first; index < min(first + 1024u, params.count); index += 256u) {
    if (params.toElement == 1u) {
      element[index] = Element(single[index]);
    } else {
      single[index] = f32(element[index]);
    }
  }
}
