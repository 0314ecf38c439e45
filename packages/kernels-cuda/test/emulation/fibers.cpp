// fibers.cpp: runs the threads of a block as fibers, one after the other on one thread of the host.
//
// A warp runs as far as it can before the next one does, in rising order in even blocks and in falling order in odd ones, and the same for lanes: a barrier
// that is missing mostly shows as a wrong result in one of them. Barriers are strict: a thread that ends while others of its warp or block wait, or lanes that wait at different kinds of barriers, are a failure.
#include "fibers.h"

#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#include <map>
#include <stdexcept>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
namespace {

constexpr int kLanes = 32;
constexpr size_t kStackBytes = 64 * 1024;
constexpr int kMostThreads = 1024;
/** Bytes behind the dynamic shared memory that must stay as they are. */
constexpr size_t kGuard = 1024;
constexpr unsigned char kGuardByte = 0xa5;

enum class State { kReady, kWaiting, kDone };

#ifdef __x86_64__
using Context = void*;
/** Saves the registers that a call preserves and the stack pointer, and takes those of another fiber. */
extern "C" void phsa_switch(Context* from, Context to);
asm(R"(
.text
.type phsa_switch, @function
phsa_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
)");
#else
using Context = ucontext_t;
#endif

struct Fiber {
  Context context;
  State state;
  Barrier barrier;
  int exchanges;  // parity picks the slots
};

struct Warp {
  uint64_t slots[2][kLanes];
  int waiting;
};

Context scheduler;
std::vector<Fiber> fibers;
std::vector<Warp> warps;
int running = 0;
int waitingForBlock = 0;
const char* failure = nullptr;
unsigned char* stacks = nullptr;
std::vector<unsigned char> sharedMemory;
Kernel runningKernel = nullptr;
const void* runningParams = nullptr;

std::map<std::string, KernelInfo>& kernels() {
  static std::map<std::string, KernelInfo> all;
  return all;
}

void switchToScheduler() {
#ifdef __x86_64__
  phsa_switch(&fibers[running].context, scheduler);
#else
  swapcontext(&fibers[running].context, &scheduler);
#endif
}

void runThread() {
  runningKernel(runningParams);
  fibers[running].state = State::kDone;
  if (warps[running / kLanes].waiting > 0 || waitingForBlock > 0) failure = "a thread ended while others wait at a barrier";
  switchToScheduler();
}

void prepare(Fiber& fiber, int index) {
  unsigned char* stack = stacks + index * kStackBytes;
#ifdef __x86_64__
  void** top = reinterpret_cast<void**>(stack + kStackBytes);
  // A call leaves the stack 8 bytes off 16; then the address to start at, then six registers.
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(runThread);
  for (int i = 0; i < 6; i++) *--top = nullptr;
  fiber.context = top;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, runThread, 0);
#endif
  fiber.state = State::kReady;
  fiber.exchanges = 0;
}

void resume(int index) {
  running = index;
  threadIdx = {static_cast<unsigned>(index), 0, 0};
#ifdef __x86_64__
  phsa_switch(&scheduler, fibers[index].context);
#else
  swapcontext(&scheduler, &fibers[index].context);
#endif
}

/** Lets the waiting threads from `first` to `end` go on; all must be at the same kind of barrier. */
void release(int first, int end, Barrier barrier) {
  for (int index = first; index < end; index++) {
    if (fibers[index].state == State::kDone) failure = "a thread ended before others came to a barrier";
    if (index != running && fibers[index].barrier != barrier) failure = "threads wait at different barriers";
    fibers[index].state = State::kReady;
  }
}

/** Lets a warp run as far as it comes by itself, which is ahead of the others wherever they need not wait for each other. */
bool runWarp(int warp, bool falling, int& done) {
  bool ran = false;
  for (bool progress = true; progress && !failure;) {
    progress = false;
    for (int l = 0; l < kLanes && !failure; l++) {
      const int index = warp * kLanes + (falling ? kLanes - 1 - l : l);
      if (fibers[index].state != State::kReady) continue;
      resume(index);
      progress = ran = true;
      done += fibers[index].state == State::kDone;
    }
  }
  return ran;
}

void runBlock(bool falling) {
  const int threads = blockDim.x;
  const int warpCount = threads / kLanes;
  for (int index = 0; index < threads; index++) prepare(fibers[index], index);
  for (Warp& warp : warps) warp.waiting = 0;
  waitingForBlock = 0;
  int done = 0;
  while (done < threads && !failure) {
    bool progress = false;
    for (int w = 0; w < warpCount; w++) progress = runWarp(falling ? warpCount - 1 - w : w, falling, done) || progress;
    if (!progress && !failure) failure = "threads wait at a barrier that others never come to";
  }
}

}  // namespace

Registration::Registration(const char* name, Kernel kernel, size_t paramsBytes, int threads) {
  kernels()[name] = KernelInfo{name, kernel, paramsBytes, threads};
}

const KernelInfo* findKernel(const std::string& name) {
  const auto found = kernels().find(name);
  return found == kernels().end() ? nullptr : &found->second;
}

std::string kernelNames() {
  std::string names;
  for (const auto& [name, info] : kernels()) names += name + "\n";
  return names;
}

unsigned char* dynamicShared() { return sharedMemory.data(); }

int lane() { return running % kLanes; }

uint64_t* exchangeSlots() {
  return warps[running / kLanes].slots[fibers[running].exchanges++ % 2];
}

void wait(Barrier barrier) {
  const bool ofBlock = barrier == Barrier::kBlock;
  const int first = ofBlock ? 0 : running / kLanes * kLanes;
  const int count = ofBlock ? blockDim.x : kLanes;
  int& waiting = ofBlock ? waitingForBlock : warps[running / kLanes].waiting;
  fibers[running].barrier = barrier;
  if (++waiting == count) {
    waiting = 0;
    release(first, first + count, barrier);
    if (!failure) return;
  }
  fibers[running].state = State::kWaiting;
  switchToScheduler();
}

std::string launch(const KernelInfo& kernel, dim3 grid, int threads, size_t sharedBytes, const void* params) {
  if (threads != kernel.threads) return "the kernel is made for another number of threads";
  if (!stacks) {
    stacks = static_cast<unsigned char*>(mmap(nullptr, kMostThreads * kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  }
  fibers.resize(kMostThreads);
  warps.resize(kMostThreads / kLanes);
  runningKernel = kernel.kernel;
  runningParams = params;
  gridDim = grid;
  blockDim = {static_cast<unsigned>(threads), 1, 1};
  failure = nullptr;
  for (unsigned z = 0; z < grid.z; z++) {
    for (unsigned y = 0; y < grid.y; y++) {
      for (unsigned x = 0; x < grid.x; x++) {
        blockIdx = {x, y, z};
        // NaN, so that reading what was never written shows.
        sharedMemory.assign(sharedBytes, 0xff);
        sharedMemory.resize(sharedBytes + kGuard, kGuardByte);
        runBlock((x + y + z) % 2 == 1);
        if (failure) return failure;
        for (size_t i = 0; i < kGuard; i++) {
          if (sharedMemory[sharedBytes + i] != kGuardByte) return "the block wrote beyond its dynamic shared memory";
        }
      }
    }
  }
  return "";
}

}  // namespace emulation
