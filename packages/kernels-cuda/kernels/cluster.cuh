// cluster.cuh: thread blocks of a cluster, which see each other's shared memory (compute capability 9.0). Only *_sm90.cu include it.
#pragma once
#include "hopper.cuh"

PHSA_DEVICE uint4 loadShared16(uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w) : "r"(address));
  return value;
}

PHSA_DEVICE int clusterRank() {
  int rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/** Half of a barrier of the cluster: `waitForCluster` returns when all its threads have come here. Nothing is ordered but that. */
PHSA_DEVICE void arriveAtCluster() { asm volatile("barrier.cluster.arrive.relaxed.aligned;\n" ::: "memory"); }
PHSA_DEVICE void waitForCluster() { asm volatile("barrier.cluster.wait.aligned;\n" ::: "memory"); }

/** All threads of the cluster; what they wrote to each other's shared memory before can be read after. */
PHSA_DEVICE void syncCluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" ::: "memory");
}

/** Address of this thread block's `target` in the shared memory of another one. */
PHSA_DEVICE uint32_t addressIn(int rank, const void* target) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(sharedAddress(target)), "r"(rank));
  return address;
}

PHSA_DEVICE void storeIn(int rank, float2* target, float2 value) {
  asm volatile("st.shared::cluster.v2.f32 [%0], {%1, %2};" ::"r"(addressIn(rank, target)), "f"(value.x), "f"(value.y) : "memory");
}

PHSA_DEVICE void storeIn(int rank, float* target, float value) {
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(addressIn(rank, target)), "f"(value) : "memory");
}

PHSA_DEVICE void storeIn(int rank, int* target, int value) {
  asm volatile("st.shared::cluster.s32 [%0], %1;" ::"r"(addressIn(rank, target)), "r"(value) : "memory");
}
