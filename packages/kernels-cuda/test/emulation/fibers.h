// fibers.h: the kernels of the library and how one is run; for the emulated driver.
#pragma once
#include <string>

#include "cuda-shim.h"

namespace emulation {

struct KernelInfo {
  std::string name;
  Kernel kernel;
  size_t paramsBytes;
  int threads;
};

/** Null for a name that is not there. */
const KernelInfo* findKernel(const std::string& name);

/** All names, a line each. */
std::string kernelNames();

/** Runs a kernel to its end. @param together all blocks at once, because they wait for each other @returns what went wrong, or nothing */
std::string launch(const KernelInfo& kernel, dim3 grid, int threads, size_t sharedBytes, const void* params, bool together);

}  // namespace emulation
