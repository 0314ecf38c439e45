// Attention over forced and selected blocks, query-major: 64 neighbouring queries of all heads of a group work through the union of their visible blocks,
// each block loaded once; warps skip the blocks that none of their 16 queries sees. mma.sync m16n8k16, online softmax. One sequence; lab version.
#include <cuda_bf16.h>
#include <cstdint>
#include <cstdio>

constexpr int D = 128, QUERIES = 64, STAGE_BLOCKS = 4, STAGES = 3;
constexpr float LOG2E = 1.4426950408889634f;

struct AttendParams {
  const __nv_bfloat16 *q, *k, *v;
  const int* selected;   // [Hkv, T, K]
  __nv_bfloat16* out;
  float* lse;
  int* listBlock;        // [Hkv, tiles, capacity]
  uint64_t* listMask;
  int* listCount;        // [Hkv, tiles]
  int tokens, heads, kvHeads, blockSize, initBlocks, localBlocks, topK, capacity;
};

// One list entry a block of 16 keys that any query of the tile sees, ascending, with a bit for each query that sees it.
__global__ void __launch_bounds__(256) union_kernel(const AttendParams p) {
  extern __shared__ uint64_t masks[];  // one for each key block before the tile's end, modulo rounds
  const int tile = blockIdx.x, kv = blockIdx.y, first = tile * QUERIES, thread = threadIdx.x;
  const int last = min(first + QUERIES, p.tokens) - 1;
  const int blocks = last / p.blockSize + 1;
  __shared__ int total, warpTotals[8];
  if (thread == 0) total = 0;
  const int ROUND = 4096;
  int* outBlock = p.listBlock + ((size_t)kv * gridDim.x + tile) * p.capacity;
  uint64_t* outMask = p.listMask + ((size_t)kv * gridDim.x + tile) * p.capacity;
  for (int start = 0; start < blocks; start += ROUND) {
    int end = min(start + ROUND, blocks);
    __syncthreads();
    for (int t = start + thread; t < end; t += 256) {
      uint64_t mask = 0;
      // forced: t < init and t <= b, or b - local < t <= b
      int firstSeeing = max(first, t * p.blockSize), lastSeeing = t < p.initBlocks ? last : min(last, (t + p.localBlocks) * p.blockSize - 1);
      if (firstSeeing <= lastSeeing) { int n = lastSeeing - firstSeeing + 1; mask = (n == 64 ? ~0ull : (1ull << n) - 1) << (firstSeeing - first); }
      masks[t - start] = mask;
    }
    __syncthreads();
    for (int e = thread; e < QUERIES * p.topK; e += 256) {
      int query = first + e / p.topK;
      if (query > last) break;
      int t = p.selected[((size_t)kv * p.tokens + query) * p.topK + e % p.topK];
      if (t >= start && t < end) atomicOr((unsigned long long*)&masks[t - start], 1ull << (query - first));
    }
    __syncthreads();
    for (int t0 = start; t0 < end; t0 += 256) {
      int t = t0 + thread;
      uint64_t mask = t < end ? masks[t - start] : 0;
      uint32_t ballot = __ballot_sync(~0u, mask != 0);
      if ((thread & 31) == 0) warpTotals[thread >> 5] = __popc(ballot);
      __syncthreads();
      int before = total;
      for (int w = 0; w < (thread >> 5); w++) before += warpTotals[w];
      if (mask) { int at = before + __popc(ballot & ((1u << (thread & 31)) - 1)); outBlock[at] = t; outMask[at] = mask; }
      __syncthreads();
      if (thread == 0) for (int w = 0; w < 8; w++) total += warpTotals[w];
      __syncthreads();
    }
  }
  if (thread == 0) p.listCount[kv * gridDim.x + tile] = total;
}

__device__ __forceinline__ uint32_t smem_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void cp_async16(uint32_t target, const void* source, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(target), "l"(source), "r"(valid ? 16 : 0));
}
__device__ __forceinline__ void ldmatrix4(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}
__device__ __forceinline__ void ldmatrix4_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ float exp2_fast(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
__device__ __forceinline__ uint32_t pack(float low, float high) { __nv_bfloat162 v = __floats2bfloat162_rn(low, high); return *(uint32_t*)&v; }
// rows of 256 bytes, 16-byte chunks swizzled by row
__device__ __forceinline__ uint32_t place(int row, int chunk) { return row * 256 + ((chunk ^ (row & 7)) << 4); }

// Warps of 16 queries x 2 heads: key and value fragments from shared memory serve 32 rows.
template <int G, int CTAS> __global__ void __launch_bounds__(G * 64, CTAS) attend_kernel(const AttendParams p) {
  constexpr int THREADS = G * 64, STAGE_KEYS = STAGE_BLOCKS * 16, KV_BYTES = STAGE_KEYS * 256, M = 2;
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ uint64_t stageMask[STAGES][STAGE_BLOCKS];
  __shared__ int stageBlock[STAGES][STAGE_BLOCKS];
  const int thread = threadIdx.x, warp = thread >> 5, lane = thread & 31;
  const int tile = gridDim.x - 1 - blockIdx.x, kv = blockIdx.y, first = tile * QUERIES;
  const int pairInGroup = warp >> 2, rowInTile = (warp & 3) * 16, head = kv * G + pairInGroup * 2;
  const int* listBlock = p.listBlock + ((size_t)kv * gridDim.x + tile) * p.capacity;
  const uint64_t* listMask = p.listMask + ((size_t)kv * gridDim.x + tile) * p.capacity;
  const int count = p.listCount[kv * gridDim.x + tile];
  const uint32_t base = smem_address(shared);

  for (int c = thread; c < G * QUERIES * 16; c += THREADS) {
    int row = c >> 4, chunk = c & 15, query = first + (row & 63), h = row >> 6;
    bool valid = query < p.tokens;
    cp_async16(base + place(row, chunk), p.q + ((size_t)(valid ? query : 0) * p.heads + kv * G + h) * D + chunk * 8, valid);
  }
  asm volatile("cp.async.commit_group;\ncp.async.wait_group 0;\n");
  __syncthreads();
  uint32_t qf[M][8][4];
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int k = 0; k < 8; k++) ldmatrix4(qf[m][k], base + place((pairInGroup * 2 + m) * 64 + rowInTile + (lane & 15), 2 * k + (lane >> 4)));
  __syncthreads();

  float o[M][16][4];
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < 16; n++) o[m][n][0] = o[m][n][1] = o[m][n][2] = o[m][n][3] = 0;
  float top[M][2], sum[M][2];
#pragma unroll
  for (int m = 0; m < M; m++) top[m][0] = top[m][1] = -INFINITY, sum[m][0] = sum[m][1] = 0;
  const float factor = rsqrtf((float)D) * LOG2E;
  const int q0 = first + rowInTile + (lane >> 2), q1 = q0 + 8;

  const int steps = (count + STAGE_BLOCKS - 1) / STAGE_BLOCKS;
  auto load = [&](int step) {
    if (step < steps) {
      int stage = step % STAGES;
      if (thread < STAGE_BLOCKS) {
        int at = step * STAGE_BLOCKS + thread;
        stageMask[stage][thread] = at < count ? listMask[at] : 0;
        stageBlock[stage][thread] = at < count ? listBlock[at] : 0;
      }
      uint32_t target = base + stage * 2 * KV_BYTES;
#pragma unroll
      for (int c = thread; c < STAGE_KEYS * 16; c += THREADS) {
        int row = c >> 4, chunk = c & 15, at = step * STAGE_BLOCKS + (row >> 4);
        int key = at < count ? listBlock[at] * 16 + (row & 15) : p.tokens;
        bool valid = key < p.tokens;
        size_t offset = ((size_t)(valid ? key : 0) * p.kvHeads + kv) * D + chunk * 8;
        cp_async16(target + place(row, chunk), p.k + offset, valid);
        cp_async16(target + KV_BYTES + place(row, chunk), p.v + offset, valid);
      }
    }
    asm volatile("cp.async.commit_group;\n");
  };
#pragma unroll
  for (int s = 0; s < STAGES - 1; s++) load(s);
  for (int step = 0; step < steps; step++) {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(STAGES - 2));
    __syncthreads();
    load(step + STAGES - 1);
    int stage = step % STAGES;
    uint32_t ks = base + stage * 2 * KV_BYTES, vs = ks + KV_BYTES;
#pragma unroll 2
    for (int block = 0; block < STAGE_BLOCKS; block++) {
      const uint32_t bits = (uint32_t)(stageMask[stage][block] >> rowInTile) & 0xFFFF;
      if (bits == 0) continue;
      float s[M][2][4] = {};
#pragma unroll
      for (int k = 0; k < 8; k++) {
        uint32_t kf[4];
        ldmatrix4(kf, ks + place(block * 16 + (lane & 7) + ((lane >> 4) << 3), 2 * k + ((lane >> 3) & 1)));
#pragma unroll
        for (int m = 0; m < M; m++) { mma(s[m][0], qf[m][k], kf[0], kf[1]); mma(s[m][1], qf[m][k], kf[2], kf[3]); }
      }
      const int firstKey = stageBlock[stage][block] * 16;
      if (bits != 0xFFFF || firstKey + 15 > first + rowInTile) {
        bool see0 = bits >> (lane >> 2) & 1, see1 = bits >> ((lane >> 2) + 8) & 1;
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
          for (int e = 0; e < 4; e++) {
            int key = firstKey + n * 8 + (lane & 3) * 2 + (e & 1);
            if (!(e & 2 ? see1 : see0) || key > (e & 2 ? q1 : q0)) {
#pragma unroll
              for (int m = 0; m < M; m++) s[m][n][e] = -INFINITY;
            }
          }
      }
      uint32_t pf[M][4];
#pragma unroll
      for (int m = 0; m < M; m++) {
        float a = fmaxf(fmaxf(s[m][0][0], s[m][0][1]), fmaxf(s[m][1][0], s[m][1][1])) * factor, b = fmaxf(fmaxf(s[m][0][2], s[m][0][3]), fmaxf(s[m][1][2], s[m][1][3])) * factor;
        // Only a maximum that grows by much is worth rescaling o for: exp2 of up to 8 more does no harm in f32.
        if (__any_sync(~0u, a > top[m][0] + 8 || b > top[m][1] + 8)) {
          a = fmaxf(a, __shfl_xor_sync(~0u, a, 1)); a = fmaxf(a, __shfl_xor_sync(~0u, a, 2));
          b = fmaxf(b, __shfl_xor_sync(~0u, b, 1)); b = fmaxf(b, __shfl_xor_sync(~0u, b, 2));
          a = fmaxf(top[m][0], a); b = fmaxf(top[m][1], b);
          float scaleA = a == -INFINITY ? 1 : exp2_fast(top[m][0] - a), scaleB = b == -INFINITY ? 1 : exp2_fast(top[m][1] - b);
          top[m][0] = a; top[m][1] = b; sum[m][0] *= scaleA; sum[m][1] *= scaleB;
#pragma unroll
          for (int n = 0; n < 16; n++) { o[m][n][0] *= scaleA; o[m][n][1] *= scaleA; o[m][n][2] *= scaleB; o[m][n][3] *= scaleB; }
        }
        const float base0 = top[m][0] == -INFINITY ? 0 : top[m][0], base1 = top[m][1] == -INFINITY ? 0 : top[m][1];
#pragma unroll
        for (int n = 0; n < 2; n++) {
          s[m][n][0] = exp2_fast(s[m][n][0] * factor - base0); s[m][n][1] = exp2_fast(s[m][n][1] * factor - base0);
          s[m][n][2] = exp2_fast(s[m][n][2] * factor - base1); s[m][n][3] = exp2_fast(s[m][n][3] * factor - base1);
          sum[m][0] += s[m][n][0] + s[m][n][1]; sum[m][1] += s[m][n][2] + s[m][n][3];
        }
        pf[m][0] = pack(s[m][0][0], s[m][0][1]); pf[m][1] = pack(s[m][0][2], s[m][0][3]); pf[m][2] = pack(s[m][1][0], s[m][1][1]); pf[m][3] = pack(s[m][1][2], s[m][1][3]);
      }
#pragma unroll
      for (int n = 0; n < 8; n++) {
        uint32_t vf[4];
        ldmatrix4_transposed(vf, vs + place(block * 16 + (lane & 15), 2 * n + (lane >> 4)));
#pragma unroll
        for (int m = 0; m < M; m++) { mma(o[m][2 * n], pf[m], vf[0], vf[1]); mma(o[m][2 * n + 1], pf[m], vf[2], vf[3]); }
      }
    }
  }
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float total = sum[m][half];
      total += __shfl_xor_sync(~0u, total, 1); total += __shfl_xor_sync(~0u, total, 2);
      int query = half ? q1 : q0;
      if (query >= p.tokens) continue;
      float inverse = 1 / total;
      __nv_bfloat16* row = p.out + ((size_t)query * p.heads + head + m) * D + (lane & 3) * 2;
#pragma unroll
      for (int n = 0; n < 16; n++) *(uint32_t*)(row + n * 8) = pack(o[m][n][2 * half] * inverse, o[m][n][2 * half + 1] * inverse);
      if ((lane & 3) == 0) p.lse[(size_t)query * p.heads + head + m] = (top[m][half] + log2f(total)) / LOG2E;
    }
}

template <int G, int CTAS> int start(const AttendParams& p, int tiles, cudaStream_t s) {
  int bytes = STAGES * 2 * STAGE_BLOCKS * 16 * 256;
  if (bytes < G * QUERIES * 256) bytes = G * QUERIES * 256;
  cudaError_t error = cudaFuncSetAttribute(attend_kernel<G, CTAS>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error) return error;
  attend_kernel<G, CTAS><<<dim3(tiles, p.kvHeads), G * 64, bytes, s>>>(p);
  return cudaGetLastError();
}
extern "C" int lab_attend(void* q, void* k, void* v, void* selected, void* out, void* lse, void* listBlock, void* listMask, void* listCount, int tokens, int heads, int kvHeads,
                          int blockSize, int initBlocks, int localBlocks, int topK, int capacity, int parts, void* stream) {
  AttendParams p{(__nv_bfloat16*)q, (__nv_bfloat16*)k, (__nv_bfloat16*)v, (int*)selected, (__nv_bfloat16*)out, (float*)lse, (int*)listBlock, (uint64_t*)listMask, (int*)listCount,
                 tokens, heads, kvHeads, blockSize, initBlocks, localBlocks, topK, capacity};
  cudaStream_t s = (cudaStream_t)stream;
  int tiles = (tokens + QUERIES - 1) / QUERIES, G = heads / kvHeads;
  if (blockSize != 16) return -1;
  if (parts & 1) union_kernel<<<dim3(tiles, kvHeads), 256, 4096 * 8, s>>>(p);
  cudaError_t error = cudaGetLastError();
  if (error) return error;
  if (parts & 2) return G == 2 ? start<2, 2>(p, tiles, s) : G == 4 ? start<4, 1>(p, tiles, s) : -1;
  return 0;
}
