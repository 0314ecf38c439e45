// grid.wgsl: workgroups numbered across two dimensions, because one holds 65,535 of them.

/** @builtin(workgroup_id) and @builtin(num_workgroups) as one number; the last row may go past the count that the host asked for. */
fn workgroupIndex(id: vec3u, count: vec3u) -> u32 {
  return id.y * count.x + id.x;
}
