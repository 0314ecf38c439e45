// driver.cpp: the functions of NVIDIA's driver that this package calls, over host memory, for one GPU that does not exist.
//
// Every call is done when it returns, or is kept for the replays where the stream is recorded. Device memory holds NaN when it is new and lies between guard words, which are looked at when it is freed. A kernel
// that fails makes the device lost, as a fault on a GPU does.
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "fibers.h"

namespace {

constexpr int kSuccess = 0;
constexpr int kInvalidValue = 1;
constexpr int kOutOfMemory = 2;
constexpr int kNotFound = 500;
constexpr int kLaunchFailed = 719;
constexpr int kCaptureUnsupported = 900;
constexpr int kCaptureInvalidated = 901;
constexpr size_t kTotalBytes = size_t{8} << 30;
constexpr size_t kGuard = 256;
constexpr unsigned char kGuardByte = 0xa5;

std::map<uint64_t, size_t> allocations;
size_t usedBytes = 0;
std::string lastFailure;
bool lost = false;
/// Of the GPU, and bytes of shared memory of a thread block: as little as the least one has.
int multiprocessors = 1;
int mostShared = 99 * 1024;

using Work = std::vector<std::function<int()>>;
std::unique_ptr<Work> recording;
bool recordingIsValid = true;

int fail(const std::string& what) {
  std::fprintf(stderr, "emulated GPU: %s\n", what.c_str());
  lastFailure = what;
  lost = true;
  return kLaunchFailed;
}

int state() { return lost ? kLaunchFailed : kSuccess; }

/// Runs work now, or keeps it while the stream is recorded.
int queue(std::function<int()> work) {
  if (lost) return kLaunchFailed;
  if (!recording) return work();
  recording->push_back(std::move(work));
  return kSuccess;
}

/// What a GPU refuses while its stream is recorded, or a recording should do without; the recording is lost.
int refuse() {
  recordingIsValid = false;
  return kCaptureUnsupported;
}

}  // namespace

extern "C" {

const char* phsa_emulated_kernels() {
  static const std::string names = emulation::kernelNames();
  return names.c_str();
}

/// Makes the GPU another one, before it is opened.
void phsa_emulate_gpu(int itsMultiprocessors, int itsSharedBytes) {
  multiprocessors = itsMultiprocessors;
  mostShared = itsSharedBytes;
}

int cuInit(unsigned) { return kSuccess; }

int cuDriverGetVersion(int* version) {
  *version = 13000;
  return kSuccess;
}

int cuDeviceGetCount(int* count) {
  *count = 1;
  return kSuccess;
}

int cuDeviceGet(int* device, int) {
  *device = 0;
  return kSuccess;
}

int cuDeviceGetName(char* name, int length, int) {
  std::snprintf(name, length, "emulated GPU (host, one thread)");
  return kSuccess;
}

int cuDeviceGetAttribute(int* value, int attribute, int) {
  switch (attribute) {
    case 16: *value = multiprocessors; return kSuccess;
    case 97: *value = mostShared; return kSuccess;
    case 75: *value = 9; return kSuccess;        // compute capability
    case 76: *value = 0; return kSuccess;
    default: return kInvalidValue;
  }
}

int cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = kTotalBytes;
  return kSuccess;
}

int cuDevicePrimaryCtxRetain(uint64_t* context, int) {
  *context = 1;
  return kSuccess;
}

int cuDevicePrimaryCtxRelease_v2(int) {
  lost = false;
  return kSuccess;
}

int cuCtxSetCurrent(uint64_t) { return state(); }

int cuModuleLoadData(uint64_t* module, const void*) {
  if (recording) return refuse();
  *module = 1;
  return state();
}

int cuModuleUnload(uint64_t) { return state(); }

int cuModuleGetFunction(uint64_t* kernel, uint64_t, const char* name) {
  const emulation::KernelInfo* found = emulation::findKernel(name);
  if (!found) return kNotFound;
  *kernel = reinterpret_cast<uint64_t>(found);
  return state();
}

int cuFuncSetAttribute(uint64_t, int, int value) { return value > mostShared ? kInvalidValue : state(); }

struct LaunchConfig {
  unsigned grid[3], block[3], sharedBytes;
  uint64_t stream;
  const unsigned* attributes;
  unsigned count;
};

static int launch(const LaunchConfig& config, uint64_t kernel, bool together, void** extra) {
  if (lost) return kLaunchFailed;
  const auto& info = *reinterpret_cast<const emulation::KernelInfo*>(kernel);
  const size_t bytes = *static_cast<const size_t*>(extra[3]);
  if (bytes != info.paramsBytes) return fail(info.name + " takes " + std::to_string(info.paramsBytes) + " bytes, not " + std::to_string(bytes));
  const auto* first = static_cast<const unsigned char*>(extra[1]);
  return queue([&info, config, together, params = std::vector<unsigned char>(first, first + bytes)] {
    const auto& [x, y, z] = config.grid;
    const std::string failure = emulation::launch(info, {x, y, z}, config.block[0], config.sharedBytes, params.data(), together);
    return failure.empty() ? kSuccess : fail(info.name + ": " + failure);
  });
}

int cuLaunchKernel(uint64_t kernel, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned, unsigned sharedBytes, uint64_t, void*,
                   void** extra) {
  return launch({{x, y, z}, {threads, 1, 1}, sharedBytes, 0, nullptr, 0}, kernel, false, extra);
}

/// There are no clusters here.
int cuOccupancyMaxActiveClusters(int* count, uint64_t, const LaunchConfig*) {
  *count = 0;
  return state();
}

/// Kernels do not overlap here, but all blocks of one run at once where the launch asks for it.
int cuLaunchKernelEx(const LaunchConfig* config, uint64_t kernel, void*, void** extra) {
  constexpr unsigned kCooperative = 2;
  return launch(*config, kernel, config->count > 0 && config->attributes[0] == kCooperative, extra);
}

int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
  if (lost) return kLaunchFailed;
  if (usedBytes + bytes > kTotalBytes) return kOutOfMemory;
  const size_t rounded = (bytes + kGuard - 1) / kGuard * kGuard;
  auto* memory = static_cast<unsigned char*>(std::aligned_alloc(kGuard, rounded + 2 * kGuard));
  if (!memory) return kOutOfMemory;
  std::memset(memory, kGuardByte, kGuard);
  std::memset(memory + kGuard, 0xff, bytes);
  std::memset(memory + kGuard + bytes, kGuardByte, rounded - bytes + kGuard);
  *address = reinterpret_cast<uint64_t>(memory + kGuard);
  allocations[*address] = bytes;
  usedBytes += bytes;
  return kSuccess;
}

int cuMemFree_v2(uint64_t address) {
  const auto found = allocations.find(address);
  if (found == allocations.end()) return kInvalidValue;
  const size_t bytes = found->second;
  auto* memory = reinterpret_cast<unsigned char*>(address);
  bool intact = true;
  for (size_t i = 1; i <= kGuard; i++) intact = intact && memory[-static_cast<ptrdiff_t>(i)] == kGuardByte;
  for (size_t i = 0; i < kGuard; i++) intact = intact && memory[bytes + i] == kGuardByte;
  std::free(memory - kGuard);
  allocations.erase(found);
  usedBytes -= bytes;
  return intact ? state() : fail("memory of " + std::to_string(bytes) + " bytes was written beyond its ends");
}

int cuMemGetInfo_v2(size_t* free, size_t* total) {
  *total = kTotalBytes;
  *free = kTotalBytes - usedBytes;
  return state();
}

int cuMemHostAlloc(uint64_t* address, size_t bytes, unsigned) {
  *address = reinterpret_cast<uint64_t>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
  return *address ? state() : kOutOfMemory;
}

int cuMemFreeHost(uint64_t address) {
  std::free(reinterpret_cast<void*>(address));
  return state();
}

static int copy(uint64_t target, uint64_t source, size_t bytes) {
  return queue([=] {
    std::memmove(reinterpret_cast<void*>(target), reinterpret_cast<const void*>(source), bytes);
    return kSuccess;
  });
}

int cuMemcpyHtoDAsync_v2(uint64_t target, uint64_t source, size_t bytes, uint64_t) { return copy(target, source, bytes); }

int cuMemcpyDtoHAsync_v2(uint64_t target, uint64_t source, size_t bytes, uint64_t) { return copy(target, source, bytes); }

int cuMemcpyDtoDAsync_v2(uint64_t target, uint64_t source, size_t bytes, uint64_t) { return copy(target, source, bytes); }

int cuMemsetD8Async(uint64_t target, unsigned char value, size_t count, uint64_t) {
  return queue([=] {
    std::memset(reinterpret_cast<void*>(target), value, count);
    return kSuccess;
  });
}

int cuMemsetD32Async(uint64_t target, unsigned value, size_t count, uint64_t) {
  return queue([=] {
    std::fill_n(reinterpret_cast<unsigned*>(target), count, value);
    return kSuccess;
  });
}

int cuStreamCreate(uint64_t* stream, unsigned) {
  *stream = 1;
  return state();
}

int cuStreamCreateWithPriority(uint64_t* stream, unsigned, int) {
  *stream = 2;
  return state();
}

int cuStreamQuery(uint64_t) { return state(); }

int cuStreamWaitEvent(uint64_t, uint64_t, unsigned) { return state(); }

int cuStreamDestroy_v2(uint64_t) { return state(); }

int cuStreamSynchronize(uint64_t) { return recording ? refuse() : state(); }

int cuEventCreate(uint64_t* event, unsigned) {
  *event = 1;
  return state();
}

int cuEventDestroy_v2(uint64_t) { return state(); }

int cuEventRecord(uint64_t, uint64_t) { return recording ? refuse() : state(); }

int cuEventQuery(uint64_t) { return state(); }

int cuEventSynchronize(uint64_t) { return state(); }

int cuEventElapsedTime(float* milliseconds, uint64_t, uint64_t) {
  *milliseconds = 0.0f;
  return state();
}

int cuStreamBeginCapture_v2(uint64_t, int) {
  recording = std::make_unique<Work>();
  recordingIsValid = true;
  return state();
}

int cuStreamEndCapture(uint64_t, uint64_t* graph) {
  const std::unique_ptr<Work> recorded = std::move(recording);
  if (!recordingIsValid) return kCaptureInvalidated;
  *graph = reinterpret_cast<uint64_t>(new Work(*recorded));
  return state();
}

int cuGraphInstantiateWithFlags(uint64_t* executable, uint64_t graph, unsigned long long) {
  *executable = reinterpret_cast<uint64_t>(new Work(*reinterpret_cast<const Work*>(graph)));
  return state();
}

int cuGraphDestroy(uint64_t graph) {
  delete reinterpret_cast<Work*>(graph);
  return state();
}

int cuGraphLaunch(uint64_t executable, uint64_t) {
  for (const auto& work : *reinterpret_cast<const Work*>(executable)) {
    const int result = queue(work);
    if (result != kSuccess) return result;
  }
  return state();
}

int cuGraphExecDestroy(uint64_t executable) {
  delete reinterpret_cast<Work*>(executable);
  return state();
}

int cuGetErrorName(int result, const char** text) {
  *text = result == kLaunchFailed ? "CUDA_ERROR_LAUNCH_FAILED" : result == kOutOfMemory ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_INVALID_VALUE";
  return kSuccess;
}

int cuGetErrorString(int result, const char** text) {
  *text = result == kLaunchFailed && lost ? lastFailure.c_str() : "an error of the emulated driver";
  return kSuccess;
}

}  // extern "C"
