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
/** The same where those who wait may then write what this thread has read. */
PHSA_DEVICE void arriveAtClusterAfterReads() { asm volatile("barrier.cluster.arrive.release.aligned;\n" ::: "memory"); }
PHSA_DEVICE void waitForCluster() { asm volatile("barrier.cluster.wait.aligned;\n" ::: "memory"); }

/** Address of this thread block's `target` in the shared memory of another one. */
PHSA_DEVICE uint32_t addressIn(int rank, const void* target) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(sharedAddress(target)), "r"(rank));
  return address;
}

/** Once a barrier in shared memory is initialised: who is past the barrier of the cluster that this thread comes to next can count on it. */
PHSA_DEVICE void fenceBarrierInit() { asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory"); }

/** Stores into the shared memory of another thread block, and counts 8 bytes on the mbarrier there: no barrier of the cluster need follow. */
PHSA_DEVICE void sendTo(int rank, uint64_t* target, uint64_t value, const uint64_t* barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.u64 [%0], %1, [%2];\n" ::"r"(addressIn(rank, target)), "l"(value),
               "r"(addressIn(rank, barrier))
               : "memory");
}
PHSA_DEVICE void sendTo(int rank, float2* target, float2 value, const uint64_t* barrier) {
  const uint64_t bits = static_cast<uint64_t>(__float_as_uint(value.y)) << 32 | __float_as_uint(value.x);
  sendTo(rank, reinterpret_cast<uint64_t*>(target), bits, barrier);
}

/** Waits for the first phase of an mbarrier: what others have sent can be read then. */
PHSA_DEVICE void waitForSent(const uint64_t* barrier) {
  asm volatile(
      "{\n.reg .pred p;\nwaiting_%=:\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%0], 0;\n@p bra done_%=;\nbra waiting_%=;\ndone_%=:\n}\n" ::"r"(
          sharedAddress(barrier))
      : "memory");
}
