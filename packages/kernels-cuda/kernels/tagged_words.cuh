// tagged_words.cuh: words that thread blocks of one launch send each other through memory, each with a tag beside it: whoever waits for a word reads the
// word itself, over and over until it carries the tag of its turn. No barrier, no counter, no fence: one trip to L2 and one back.
//
// A place is 8 bytes, written at once and read at once. Tags of a place never repeat; who writes one again must know that all have read it.
#pragma once
#include "platform.cuh"

#ifndef PHSA_EMULATION

PHSA_DEVICE void sendWord(uint64_t* place, uint32_t word, uint32_t tag) {
  asm volatile("st.relaxed.gpu.global.b64 [%0], %1;\n" ::"l"(place), "l"(static_cast<uint64_t>(tag) << 32 | word) : "memory");
}

/** Two neighbouring places, aligned to 16 bytes. */
PHSA_DEVICE void sendWords(uint64_t* places, uint2 words, uint32_t tag) {
  const uint64_t high = static_cast<uint64_t>(tag) << 32;
  asm volatile("st.relaxed.gpu.global.v2.b64 [%0], {%1, %2};\n" ::"l"(places), "l"(high | words.x), "l"(high | words.y) : "memory");
}

PHSA_DEVICE uint64_t lookAt(const uint64_t* place) {
  uint64_t both;
  asm volatile("ld.relaxed.gpu.global.b64 %0, [%1];\n" : "=l"(both) : "l"(place) : "memory");
  return both;
}

struct TwoPlaces {
  uint64_t first;
  uint64_t second;
};
PHSA_DEVICE TwoPlaces lookAtTwo(const uint64_t* places) {
  TwoPlaces both;
  asm volatile("ld.relaxed.gpu.global.v2.b64 {%0, %1}, [%2];\n" : "=l"(both.first), "=l"(both.second) : "l"(places) : "memory");
  return both;
}

/** Ends the launch with an error after a second of waiting: a fault then, and not a GPU that never comes back. */
struct Patience {
  unsigned looks = 0;
  long long since = 0;

  PHSA_DEVICE void wait() {
    if (++looks % 1024 != 0) return;
    const long long now = clock64();
    if (since == 0) since = now;
    if (now - since > 2000000000LL) __trap();
  }
};

#endif

/** Waits for N pairs of neighbouring words. */
template <int N>
PHSA_DEVICE void receiveWords(const uint64_t* const (&places)[N], uint32_t tag, uint2 (&words)[N]) {
  Patience patience;
  for (bool isThere = false; !isThere;) {
    TwoPlaces seen[N];
#pragma unroll
    for (int n = 0; n < N; n++) seen[n] = lookAtTwo(places[n]);
    isThere = true;
#pragma unroll
    for (int n = 0; n < N; n++) {
      isThere = isThere && seen[n].first >> 32 == tag && seen[n].second >> 32 == tag;
      words[n] = {static_cast<uint32_t>(seen[n].first), static_cast<uint32_t>(seen[n].second)};
    }
    if (!isThere) patience.wait();
  }
}

/** Waits for N words that lie apart. */
template <int N>
PHSA_DEVICE void receiveWords(const uint64_t* const (&places)[N], uint32_t tag, uint32_t (&words)[N]) {
  Patience patience;
  for (bool isThere = false; !isThere;) {
    uint64_t seen[N];
#pragma unroll
    for (int n = 0; n < N; n++) seen[n] = lookAt(places[n]);
    isThere = true;
#pragma unroll
    for (int n = 0; n < N; n++) {
      isThere = isThere && seen[n] >> 32 == tag;
      words[n] = static_cast<uint32_t>(seen[n]);
    }
    if (!isThere) patience.wait();
  }
}
