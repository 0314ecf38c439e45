// products.cuh: products of small matrices by a warp (compute capability 8.0 and later), 16-bit in, f32 out. The emulation brings its own.
//
// Lane l has g = l / 4 and c = l % 4. a[16, 16]: rows g, g + 8, g, g + 8, columns 2 c and 2 c + 1, from 8 on in the last two words. b[16, 8]: rows
// 2 c and 2 c + 1, from 8 on in the second word, column g. d[16, 8]: rows g, g, g + 8, g + 8, columns 2 c, 2 c + 1, 2 c, 2 c + 1.
#pragma once
#include "platform.cuh"

#ifndef PHSA_EMULATION

/** d += a b in f16. */
PHSA_DEVICE void multiplyHalf(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/** d += a b in bf16. */
PHSA_DEVICE void multiplyBf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/** Transposes an 8 x 8 matrix of 16-bit elements, of which a lane has row g, columns 2 c and 2 c + 1. */
PHSA_DEVICE uint32_t transpose(uint32_t pair) {
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;\n" : "=r"(result) : "r"(pair));
  return result;
}

/** Two numbers rounded to f16, the first in the low half. */
PHSA_DEVICE uint32_t roundToHalves(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

/** Two numbers rounded to bf16, the first in the low half. */
PHSA_DEVICE uint32_t roundToBf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

/** The low halves of two words, or their high halves, the first word's in the low half. */
PHSA_DEVICE uint32_t lowHalves(uint32_t first, uint32_t second) { return __byte_perm(first, second, 0x5410); }
PHSA_DEVICE uint32_t highHalves(uint32_t first, uint32_t second) { return __byte_perm(first, second, 0x7632); }

#endif

/** Two numbers rounded to f16, the first in the low half: those out of range to the largest, NaN to 0. */
PHSA_DEVICE uint32_t boundedHalves(float low, float high) {
  const float most = 65504.0f;
  low = low == low ? fminf(fmaxf(low, -most), most) : 0.0f;
  high = high == high ? fminf(fmaxf(high, -most), most) : 0.0f;
  return roundToHalves(low, high);
}
