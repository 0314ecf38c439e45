// Block selection with tensor cores: query tile stays in shared memory, representatives stream past it twice (softmax) or once (logit), the topK
// of each row are kept in a small shared buffer that is thinned when it fills. One sequence; lab version.
#include <cuda_bf16.h>
#include <cstdint>
#include <cstdio>
#include "wgmma.cuh"

constexpr int D = 128, ROWS = 64, TILE = 128, CAP = 64, GROUP_COLUMNS = 32;
constexpr float LOG2E = 1.4426950408889634f;

struct SelectParams {
  const __nv_bfloat16* q;     // [T, Hq, D]
  const __nv_bfloat16* reps;  // [Hkv, blocks, D]
  int* selected;              // [Hkv, T, K]
  int tokens, heads, kvHeads, blocks, blockSize, initBlocks, localBlocks, topK;
};

__device__ __forceinline__ uint32_t smem_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void cp_async16(uint32_t target, const void* source, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(target), "l"(source), "r"(valid ? 16 : 0));
}
__device__ __forceinline__ void cp_commit() { asm volatile("cp.async.commit_group;\n"); }
__device__ __forceinline__ void cp_wait_all() { asm volatile("cp.async.wait_group 0;\n"); }
__device__ __forceinline__ void fence_async_proxy() { asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory"); }
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
template <int N> __device__ __forceinline__ void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(N) : "memory"); }
// Keeps the compiler from reading accumulators before the wait.
__device__ __forceinline__ void settle(float (&d)[64]) {
#pragma unroll
  for (int i = 0; i < 64; i++) asm volatile("" : "+f"(d[i])::"memory");
}
__device__ __forceinline__ float exp2_fast(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }

// K-major operand, 128-byte swizzle: 8 rows of 128 bytes an atom, 1024 bytes from one atom to the next.
__device__ __forceinline__ uint64_t descriptor(uint32_t address) {
  return (uint64_t)((address & 0x3FFFF) >> 4) | (uint64_t)1 << 16 | (uint64_t)64 << 32 | (uint64_t)1 << 62;
}
__device__ __forceinline__ uint32_t swizzled(int row, int chunk, int rows) { return (chunk >> 3) * rows * 128 + row * 128 + (((chunk & 7) ^ (row & 7)) << 4); }

__device__ __forceinline__ uint32_t ordered(float value) { uint32_t u = __float_as_uint(value); return u & 0x80000000u ? ~u : u | 0x80000000u; }
__device__ __forceinline__ float unordered(uint32_t u) { return __uint_as_float(u & 0x80000000u ? u & 0x7FFFFFFFu : ~u); }

// acc = Q_h R^T
__device__ __forceinline__ void product(float (&acc)[64], uint32_t q, uint32_t r) {
#pragma unroll
  for (int k = 0; k < 8; k++) {
    uint32_t a = q + (k >> 2) * ROWS * 128 + (k & 3) * 32, b = r + (k >> 2) * TILE * 128 + (k & 3) * 32;
    wgmma_m64n128k16(acc, descriptor(a), descriptor(b), k > 0);
  }
}

// What a warp keeps of its 16 rows: CAP scores and block indices a row, entry e of row r at [e * 16 + r].
struct Kept { float* score; uint32_t* index; int* count; float* threshold; };

// Two lanes a row, each with every second entry. Thins every row of more than `most` entries to between topK and `most` of its best.
template <int TARGET_EXACT> __device__ __noinline__ void thin(Kept kept, int topK, int most) {
  const int lane = threadIdx.x & 31, row = lane & 15, half = lane >> 4;
  const int n = kept.count[row];
  uint32_t u[CAP / 2];
  uint32_t high = 0, low = ~0u;
#pragma unroll
  for (int i = 0; i < CAP / 2; i++) {
    int e = 2 * i + half;
    bool is = e < n;
    u[i] = is ? ordered(kept.score[e * 16 + row]) : 0;
    high = max(high, u[i]);
    if (is) low = min(low, u[i]);
  }
  high = max(high, __shfl_xor_sync(~0u, high, 16)) + 1;
  low = min(low, __shfl_xor_sync(~0u, low, 16));
  // count(>= low) > most, count(>= high) < topK, until one lies between
  bool active = n > most, found = false;
  uint32_t pivot = 0;
  while (true) {
    bool open = active && !found && high - low > 1;
    if (!__any_sync(~0u, open)) break;
    uint32_t middle = low + (high - low) / 2;
    int c = 0;
#pragma unroll
    for (int i = 0; i < CAP / 2; i++) c += u[i] >= middle;
    c += __shfl_xor_sync(~0u, c, 16);
    if (open) {
      if (c > most) low = middle;
      else if (c < topK) high = middle;
      else { pivot = middle; found = true; }
    }
  }
  uint32_t mine = 0;
  const bool tied = active && !found;
#pragma unroll
  for (int i = 0; i < CAP / 2; i++) if (u[i] >= (tied ? high : pivot) && 2 * i + half < n) mine |= 1u << i;
  if (__any_sync(~0u, tied)) {
    // Equal scores at the border: the lower indices win.
    int better = __popc(mine);
    better += __shfl_xor_sync(~0u, better, 16);
    if (tied) {
#pragma unroll
      for (int i = 0; i < CAP / 2; i++) {
        int e = 2 * i + half;
        if (e < n && u[i] == low) {
          uint32_t index = kept.index[e * 16 + row];
          int before = 0;
          for (int other = 0; other < n; other++) before += ordered(kept.score[other * 16 + row]) == low && kept.index[other * 16 + row] < index;
          if (before < topK - better) mine |= 1u << i;
        }
      }
      pivot = low;
    }
    __syncwarp();
  }
  uint32_t other = __shfl_xor_sync(~0u, mine, 16);
  int at = 0;
#pragma unroll
  for (int i = 0; i < CAP / 2; i++) {
    uint32_t index = kept.index[(2 * i + half) * 16 + row];
    __syncwarp();
    bool me = mine >> i & 1, it = other >> i & 1;
    if (active && me) {
      int slot = at + (half & it);
      kept.score[slot * 16 + row] = unordered(u[i]);
      kept.index[slot * 16 + row] = index;
    }
    at += me + it;
  }
  if (active && half == 0) { kept.count[row] = at; kept.threshold[row] = unordered(pivot); }
  __syncwarp();
}

__device__ __forceinline__ void load_reps(uint32_t target, const __nv_bfloat16* reps, int first, int blocks, int thread) {
#pragma unroll
  for (int c = thread; c < TILE * 16; c += 256) {
    int row = c >> 4, chunk = c & 15;
    bool valid = first + row < blocks;
    cp_async16(target + swizzled(row, chunk, TILE), reps + (size_t)(valid ? first + row : 0) * D + chunk * 8, valid);
  }
}

template <int G, bool SOFTMAX>
__global__ void __launch_bounds__(256, 1) select_kernel(const SelectParams p) {
  constexpr int QH = SOFTMAX ? G : 1;
  extern __shared__ __align__(1024) uint8_t shared_raw[];
  uint32_t base = (smem_address(shared_raw) + 1023) & ~1023u;
  uint8_t* generic = shared_raw + (base - smem_address(shared_raw));
  const uint32_t qBytes = ROWS * D * 2, rBytes = TILE * D * 2;
  uint32_t qShared = base, rShared = base + 2 * QH * qBytes;
  uint8_t* keptBytes = generic + 2 * QH * qBytes + 2 * rBytes + (threadIdx.x >> 5) * (16 * (CAP * 8 + 8));
  Kept kept{(float*)keptBytes, (uint32_t*)(keptBytes + 16 * CAP * 4), (int*)(keptBytes + 16 * CAP * 8), (float*)(keptBytes + 16 * CAP * 8 + 64)};

  const int thread = threadIdx.x, group = thread >> 7, warp = thread >> 5, lane = thread & 31;
  const int kv = blockIdx.y;
  const int firstQuery = (gridDim.x - 1 - blockIdx.x) * 2 * ROWS;
  const __nv_bfloat16* reps = p.reps + (size_t)kv * p.blocks * D;

  if (SOFTMAX) {
    for (int c = thread; c < 2 * QH * ROWS * 16; c += 256) {
      int chunk = c & 15, row = (c >> 4) & 63, rest = c >> 10, head = rest % QH, half = rest / QH;
      int query = firstQuery + half * ROWS + row;
      bool valid = query < p.tokens;
      const __nv_bfloat16* source = p.q + ((size_t)(valid ? query : 0) * p.heads + kv * G + head) * D + chunk * 8;
      cp_async16(qShared + rest * qBytes + swizzled(row, chunk, ROWS), source, valid);
    }
  } else {
    for (int c = thread; c < 2 * ROWS * 16; c += 256) {
      int chunk = c & 15, row = (c >> 4) & 63, half = c >> 10;
      int query = firstQuery + half * ROWS + row;
      float sum[8] = {};
      if (query < p.tokens)
        for (int head = 0; head < G; head++) {
          uint4 raw = *(const uint4*)(p.q + ((size_t)query * p.heads + kv * G + head) * D + chunk * 8);
          const __nv_bfloat162* pairs = (const __nv_bfloat162*)&raw;
          for (int e = 0; e < 4; e++) { float2 f = __bfloat1622float2(pairs[e]); sum[2 * e] += f.x; sum[2 * e + 1] += f.y; }
        }
      __nv_bfloat162 packed[4];
      for (int e = 0; e < 4; e++) packed[e] = __floats2bfloat162_rn(sum[2 * e], sum[2 * e + 1]);
      *(uint4*)(generic + half * qBytes + swizzled(row, chunk, ROWS)) = *(uint4*)packed;
    }
  }
  if (lane < 16) { kept.count[lane] = 0; kept.threshold[lane] = -INFINITY; }

  const float factor = rsqrtf((float)D) * LOG2E;
  const int rowInGroup = (warp & 3) * 16 + (lane >> 2);
  const int row0 = group * ROWS + rowInGroup, row1 = row0 + 8;
  const int query0 = firstQuery + row0, query1 = firstQuery + row1;
  const int lastQuery = min(firstQuery + 2 * ROWS, p.tokens) - 1;
  const int complete0 = min(query0 + 1, p.tokens) / p.blockSize, complete1 = min(query1 + 1, p.tokens) / p.blockSize;
  const uint32_t myQ = qShared + group * QH * qBytes;
  float norm0[QH], norm1[QH];

  if (SOFTMAX) {
    float max0[G], max1[G], sum0[G], sum1[G];
#pragma unroll
    for (int h = 0; h < G; h++) { max0[h] = max1[h] = -INFINITY; sum0[h] = sum1[h] = 0; }
    const int completeLast = (lastQuery + 1) / p.blockSize;
    const int fewest = (firstQuery + 1) / p.blockSize;
    const int tiles = (completeLast + TILE - 1) / TILE;
    load_reps(rShared, reps, 0, p.blocks, thread);
    cp_commit();
    for (int tile = 0; tile < tiles; tile++) {
      cp_wait_all(); fence_async_proxy(); __syncthreads();
      if (tile + 1 < tiles) load_reps(rShared + ((tile + 1) & 1) * rBytes, reps, (tile + 1) * TILE, p.blocks, thread);
      cp_commit();
      const uint32_t r = rShared + (tile & 1) * rBytes;
      float acc[2][64];
      wgmma_fence(); product(acc[0], myQ, r); wgmma_commit();
#pragma unroll
      for (int h = 0; h < G; h++) {
        if (h + 1 < G) { wgmma_fence(); product(acc[(h + 1) & 1], myQ + (h + 1) * qBytes, r); wgmma_commit(); wgmma_wait<1>(); }
        else wgmma_wait<0>();
        float(&s)[64] = acc[h & 1];
        settle(s);
        if ((tile + 1) * TILE > fewest) {
#pragma unroll
          for (int e = 0; e < 64; e++) {
            int column = tile * TILE + (e >> 2) * 8 + (lane & 3) * 2 + (e & 1);
            if (column >= ((e & 2) ? complete1 : complete0)) s[e] = -INFINITY;
          }
        }
        float top0 = max0[h], top1 = max1[h];
#pragma unroll
        for (int e = 0; e < 64; e++) { if (e & 2) top1 = fmaxf(top1, s[e]); else top0 = fmaxf(top0, s[e]); }
        float base0 = top0 == -INFINITY ? 0 : top0 * factor, base1 = top1 == -INFINITY ? 0 : top1 * factor;
        sum0[h] *= exp2_fast(max0[h] * factor - base0); sum1[h] *= exp2_fast(max1[h] * factor - base1);
        max0[h] = top0; max1[h] = top1;
        float add0 = 0, add1 = 0;
#pragma unroll
        for (int e = 0; e < 64; e++) { if (e & 2) add1 += exp2_fast(s[e] * factor - base1); else add0 += exp2_fast(s[e] * factor - base0); }
        sum0[h] += add0; sum1[h] += add1;
      }
    }
#pragma unroll
    for (int h = 0; h < G; h++) {
      float top0 = max0[h], top1 = max1[h];
      for (int s = 1; s < 4; s <<= 1) { top0 = fmaxf(top0, __shfl_xor_sync(~0u, top0, s)); top1 = fmaxf(top1, __shfl_xor_sync(~0u, top1, s)); }
      float t0 = top0 == -INFINITY ? 0 : sum0[h] * exp2_fast((max0[h] - top0) * factor), t1 = top1 == -INFINITY ? 0 : sum1[h] * exp2_fast((max1[h] - top1) * factor);
      for (int s = 1; s < 4; s <<= 1) { t0 += __shfl_xor_sync(~0u, t0, s); t1 += __shfl_xor_sync(~0u, t1, s); }
      norm0[h] = top0 * factor + log2f(t0); norm1[h] = top1 * factor + log2f(t1);
    }
    __syncthreads();
  }

  // candidates of a row: initBlocks <= t <= b - localBlocks
  const int end0 = query0 < p.tokens ? query0 / p.blockSize - p.localBlocks + 1 : 0, end1 = query1 < p.tokens ? query1 / p.blockSize - p.localBlocks + 1 : 0;
  const int endLast = lastQuery / p.blockSize - p.localBlocks + 1, endFirst = firstQuery / p.blockSize - p.localBlocks + 1;
  const int firstTile = p.initBlocks / TILE, tiles = endLast > 0 ? (endLast + TILE - 1) / TILE : 0;
  if (firstTile < tiles) load_reps(rShared + (firstTile & 1) * rBytes, reps, firstTile * TILE, p.blocks, thread);
  cp_commit();
  int count0 = 0, count1 = 0;
  const int most = min(CAP - GROUP_COLUMNS, p.topK + p.topK / 2 + 1);
  float threshold0 = -INFINITY, threshold1 = -INFINITY;
  for (int tile = firstTile; tile < tiles; tile++) {
    cp_wait_all(); fence_async_proxy(); __syncthreads();
    if (tile + 1 < tiles) load_reps(rShared + ((tile + 1) & 1) * rBytes, reps, (tile + 1) * TILE, p.blocks, thread);
    cp_commit();
    const uint32_t r = rShared + (tile & 1) * rBytes;
    float acc[64];
    if (SOFTMAX) {
      float other[64];
      wgmma_fence(); product(acc, myQ, r); wgmma_commit();
#pragma unroll
      for (int h = 0; h < QH; h++) {
        if (h + 1 < QH) { wgmma_fence(); product(other, myQ + (h + 1) * qBytes, r); wgmma_commit(); }
        if (h == 0) {
          if (QH > 1) wgmma_wait<1>(); else wgmma_wait<0>();
          settle(acc);
#pragma unroll
          for (int e = 0; e < 64; e++) acc[e] = exp2_fast(acc[e] * factor - ((e & 2) ? norm1[0] : norm0[0]));
        }
        if (h + 1 < QH) {
          wgmma_wait<0>();
          settle(other);
#pragma unroll
          for (int e = 0; e < 64; e++) acc[e] += exp2_fast(other[e] * factor - ((e & 2) ? norm1[h + 1] : norm0[h + 1]));
        }
      }
    } else {
      wgmma_fence(); product(acc, myQ, r); wgmma_commit(); wgmma_wait<0>();
      settle(acc);
    }
    if (tile * TILE < p.initBlocks || (tile + 1) * TILE > endFirst) {
#pragma unroll
      for (int e = 0; e < 64; e++) {
        int column = tile * TILE + (e >> 2) * 8 + (lane & 3) * 2 + (e & 1);
        if (column < p.initBlocks || column >= ((e & 2) ? end1 : end0)) acc[e] = -INFINITY;
      }
    }
#pragma unroll
    for (int part = 0; part < TILE / GROUP_COLUMNS; part++) {
      float top0 = -INFINITY, top1 = -INFINITY;
#pragma unroll
      for (int e = part * 16; e < part * 16 + 16; e++) { if (e & 2) top1 = fmaxf(top1, acc[e]); else top0 = fmaxf(top0, acc[e]); }
      if (__any_sync(~0u, top0 > threshold0 || top1 > threshold1)) {
        const int quad = lane & 28;
        const uint32_t before = (1u << (lane & 3)) - 1;
#pragma unroll
        for (int e = part * 16; e < part * 16 + 16; e++) {
          const bool take = acc[e] > ((e & 2) ? threshold1 : threshold0);
          const uint32_t takers = __ballot_sync(~0u, take) >> quad & 15;
          const int slot = ((e & 2) ? count1 : count0) + __popc(takers & before);
          if (take) {
            const int at = slot * 16 + (lane >> 2) + ((e & 2) ? 8 : 0);
            kept.score[at] = acc[e];
            kept.index[at] = tile * TILE + (e >> 2) * 8 + (lane & 3) * 2 + (e & 1);
          }
          if (e & 2) count1 += __popc(takers); else count0 += __popc(takers);
        }
        if (__any_sync(~0u, max(count0, count1) > CAP - GROUP_COLUMNS)) {
          if ((lane & 3) == 0) { kept.count[lane >> 2] = count0; kept.count[(lane >> 2) + 8] = count1; }
          __syncwarp();
          thin<0>(kept, p.topK, most);
          count0 = kept.count[lane >> 2]; count1 = kept.count[(lane >> 2) + 8];
          threshold0 = kept.threshold[lane >> 2]; threshold1 = kept.threshold[(lane >> 2) + 8];
        }
      }
    }
  }

  if ((lane & 3) == 0) { kept.count[lane >> 2] = count0; kept.count[(lane >> 2) + 8] = count1; }
  __syncwarp();
  thin<1>(kept, p.topK, p.topK);
  // Rank by index: each lane places every second entry of its row.
  {
    const int row = lane & 15, n = kept.count[row], query = firstQuery + group * ROWS + (warp & 3) * 16 + row;
    if (query < p.tokens) {
      int* target = p.selected + ((size_t)kv * p.tokens + query) * p.topK;
      for (int e = lane >> 4; e < p.topK; e += 2) {
        if (e >= n) { target[e] = -1; continue; }
        uint32_t index = kept.index[e * 16 + row];
        int rank = 0;
        for (int other = 0; other < n; other++) rank += kept.index[other * 16 + row] < index;
        target[rank] = index;
      }
    }
  }
}

template <int G, bool SOFTMAX> int start(const SelectParams& p, cudaStream_t stream) {
  int shared = 1024 + 2 * (SOFTMAX ? G : 1) * ROWS * D * 2 + 2 * TILE * D * 2 + 2 * ROWS * (CAP * 8 + 8);
  cudaError_t error = cudaFuncSetAttribute(select_kernel<G, SOFTMAX>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
  if (error) return error;
  select_kernel<G, SOFTMAX><<<dim3((p.tokens + 127) / 128, p.kvHeads), 256, shared, stream>>>(p);
  return cudaGetLastError();
}
extern "C" int lab_select(void* q, void* reps, void* selected, int tokens, int heads, int kvHeads, int blocks, int blockSize, int initBlocks, int localBlocks, int topK, int softmax, void* stream) {
  SelectParams p{(__nv_bfloat16*)q, (__nv_bfloat16*)reps, (int*)selected, tokens, heads, kvHeads, blocks, blockSize, initBlocks, localBlocks, topK};
  int G = heads / kvHeads;
  cudaStream_t s = (cudaStream_t)stream;
  if (topK > 32) return -1;
  if (softmax) return G == 1 ? start<1, true>(p, s) : G == 2 ? start<2, true>(p, s) : -1;
  return G == 1 ? start<1, false>(p, s) : G == 2 ? start<2, false>(p, s) : G == 4 ? start<4, false>(p, s) : G == 16 ? start<16, false>(p, s) : -1;
}
