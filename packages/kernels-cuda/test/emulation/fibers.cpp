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

/** A thread that pauses goes on when its block is next looked at: it waits for another block. */
enum class State { kReady, kPaused, kWaiting, kDone };

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

/** A block of threads, with the shared memory that it asks the launch for. */
struct Block {
  dim3 index;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<unsigned char> sharedMemory;
  int waiting = 0;
  int done = 0;
};

Context scheduler;
/** Those that run at once: one, or all of a launch whose blocks wait for each other. */
std::vector<Block> blocks;
Block* block = nullptr;  // that runs
int running = 0;         // thread of it
bool cameFurther = false;  // any thread, but for looking again at what is not there
const char* failure = nullptr;
unsigned char* stacks = nullptr;
size_t stackCount = 0;
Kernel runningKernel = nullptr;
const void* runningParams = nullptr;

std::map<std::string, KernelInfo>& kernels() {
  static std::map<std::string, KernelInfo> all;
  return all;
}

void switchToScheduler() {
#ifdef __x86_64__
  phsa_switch(&block->fibers[running].context, scheduler);
#else
  swapcontext(&block->fibers[running].context, &scheduler);
#endif
}

void runThread() {
  runningKernel(runningParams);
  block->fibers[running].state = State::kDone;
  block->done++;
  cameFurther = true;
  if (block->warps[running / kLanes].waiting > 0 || block->waiting > 0) failure = "a thread ended while others wait at a barrier";
  switchToScheduler();
}

void prepare(Fiber& fiber, size_t index) {
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
  phsa_switch(&scheduler, block->fibers[index].context);
#else
  swapcontext(&scheduler, &block->fibers[index].context);
#endif
}

/** Lets the waiting threads from `first` to `end` go on; all must be at the same kind of barrier. */
void release(int first, int end, Barrier barrier) {
  for (int index = first; index < end; index++) {
    Fiber& fiber = block->fibers[index];
    if (fiber.state == State::kDone) failure = "a thread ended before others came to a barrier";
    if (index != running && fiber.barrier != barrier) failure = "threads wait at different barriers";
    fiber.state = State::kReady;
  }
}

/** Lets a warp run as far as it comes by itself, which is ahead of the others wherever they need not wait for each other. @returns whether it ran */
bool runWarp(int warp, bool falling) {
  bool ran = false;
  for (bool progress = true; progress && !failure;) {
    progress = false;
    for (int l = 0; l < kLanes && !failure; l++) {
      const int index = warp * kLanes + (falling ? kLanes - 1 - l : l);
      if (block->fibers[index].state != State::kReady) continue;
      resume(index);
      progress = ran = true;
    }
  }
  return ran;
}

/** Lets the block run as far as it comes without others. */
void runBlock(Block& own, bool falling) {
  block = &own;
  blockIdx = own.index;
  const int warpCount = blockDim.x / kLanes;
  for (Fiber& fiber : own.fibers) {
    if (fiber.state == State::kPaused) fiber.state = State::kReady;
  }
  for (bool progress = true; progress && !failure;) {
    progress = false;
    for (int w = 0; w < warpCount; w++) progress = runWarp(falling ? warpCount - 1 - w : w, falling) || progress;
  }
}

/** Runs `blocks` to their end. */
void runBlocks(int threads, size_t sharedBytes) {
  size_t stack = 0;
  for (Block& own : blocks) {
    own.fibers.resize(threads);
    own.warps.resize(threads / kLanes);
    for (Fiber& fiber : own.fibers) prepare(fiber, stack++);
    for (Warp& warp : own.warps) warp.waiting = 0;
    own.waiting = own.done = 0;
    // NaN, so that reading what was never written shows.
    own.sharedMemory.assign(sharedBytes, 0xff);
    own.sharedMemory.resize(sharedBytes + kGuard, kGuardByte);
  }
  for (bool isDone = false; !isDone;) {
    cameFurther = false;
    isDone = true;
    for (Block& own : blocks) {
      runBlock(own, (own.index.x + own.index.y + own.index.z) % 2 == 1);
      isDone = isDone && own.done == threads;
      if (failure) return;
    }
    if (!isDone && !cameFurther) failure = "threads wait at a barrier that others never come to";
  }
  for (const Block& own : blocks) {
    for (size_t i = 0; i < kGuard; i++) {
      if (own.sharedMemory[sharedBytes + i] != kGuardByte) failure = "the block wrote beyond its dynamic shared memory";
    }
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

unsigned char* dynamicShared() { return block->sharedMemory.data(); }

int lane() { return running % kLanes; }

uint64_t* exchangeSlots() {
  return block->warps[running / kLanes].slots[block->fibers[running].exchanges++ % 2];
}

void wait(Barrier barrier) {
  const bool ofBlock = barrier == Barrier::kBlock;
  const int first = ofBlock ? 0 : running / kLanes * kLanes;
  const int count = ofBlock ? blockDim.x : kLanes;
  int& waiting = ofBlock ? block->waiting : block->warps[running / kLanes].waiting;
  Fiber& own = block->fibers[running];
  own.barrier = barrier;
  cameFurther = true;
  if (++waiting == count) {
    waiting = 0;
    release(first, first + count, barrier);
    if (!failure) return;
  }
  own.state = State::kWaiting;
  switchToScheduler();
}

void pause(bool isNew) {
  cameFurther = cameFurther || isNew;
  block->fibers[running].state = State::kPaused;
  switchToScheduler();
}

std::string launch(const KernelInfo& kernel, dim3 grid, int threads, size_t sharedBytes, const void* params, bool together) {
  if (threads != kernel.threads) return "the kernel is made for another number of threads";
  const size_t atOnce = together ? static_cast<size_t>(grid.x) * grid.y * grid.z : 1;
  if (stackCount < atOnce * threads) {
    if (stacks) munmap(stacks, stackCount * kStackBytes);
    stackCount = atOnce * std::max(threads, kMostThreads);
    stacks = static_cast<unsigned char*>(
        mmap(nullptr, stackCount * kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
  blocks.resize(atOnce);
  runningKernel = kernel.kernel;
  runningParams = params;
  gridDim = grid;
  blockDim = {static_cast<unsigned>(threads), 1, 1};
  failure = nullptr;
  size_t next = 0;
  for (unsigned z = 0; z < grid.z; z++) {
    for (unsigned y = 0; y < grid.y; y++) {
      for (unsigned x = 0; x < grid.x; x++) {
        blocks[next++].index = {x, y, z};
        if (next < atOnce) continue;
        next = 0;
        runBlocks(threads, sharedBytes);
        if (failure) return failure;
      }
    }
  }
  return "";
}

}  // namespace emulation
