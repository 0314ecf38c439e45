// forced_keys.wgsl: which queries see a key without having chosen its block (spec 4).

/** No query stands so far: a key with it as its end is seen by all behind it. */
const NO_END = 0x7fffffffu;

/** Position behind the last query that sees a key, at or before it, as first token, in the window or densely. */
fn forcedEnd(key: u32) -> u32 {
  let block = key / params.rules.blockSize;
  if (block < params.rules.initBlocks) {
    return NO_END;
  }
  return max((block + params.rules.localBlocks) * params.rules.blockSize, params.rules.denseBelow);
}
