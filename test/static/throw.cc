// What C++ code does with its runtime library: throws and unwinds, on two threads, through its own frames and through
// those of the library; waits, asks for types, registers what is to be done once. Prints a line for each.
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <new>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <system_error>
#include <typeinfo>
#include <unordered_map>

static int destroyed;
struct Guard {
  ~Guard() { destroyed++; }
};

struct Base {
  virtual ~Base() {}
};
struct Left : virtual Base {};
struct Right : virtual Base {};
struct Both : Left, Right {};

static __attribute__((noinline)) void deep(int depth) {
  Guard guard;
  if (depth == 0) throw std::runtime_error("from the depth");
  deep(depth - 1);
}

static void unwindsFrames() {
  try {
    deep(1000);
  } catch (const std::exception &error) {
    printf("%s, %d destroyed\n", error.what(), destroyed);
  }
}

// These are thrown by code of the library.
static void unwindsTheLibrary() {
  try {
    std::__throw_out_of_range_fmt("no element %zu", size_t(5));
  } catch (const std::out_of_range &error) {
    printf("%s\n", error.what());
  }
  try {
    std::function<void()>()();
  } catch (const std::bad_function_call &error) {
    printf("%s\n", error.what());
  }
  try {
    std::__throw_length_error("too long");
  } catch (const std::logic_error &error) {
    printf("%s\n", error.what());
  }
  try {
    std::__throw_system_error(2);
  } catch (const std::system_error &error) {
    printf("%d %s\n", error.code().value(), error.what());
  }
  try {
    dynamic_cast<Both &>(*new Base);
  } catch (const std::bad_cast &error) {
    printf("%s\n", error.what());
  }
}

static void throwsAgain() {
  try {
    try {
      throw 42;
    } catch (...) {
      Guard guard;
      throw;
    }
  } catch (int number) {
    printf("again %d\n", number);
  }
}

static void knowsTypes() {
  Both both;
  Left *left = &both;
  printf("cast %d %s\n", dynamic_cast<Right *>(left) == &both, typeid(*left) == typeid(Both) ? "Both" : "?");
}

static std::mutex mutex;
static std::condition_variable changed;
static bool isReady;

static void *onAnotherThread(void *) {
  try {
    deep(10);
  } catch (const std::runtime_error &) {
    std::lock_guard<std::mutex> lock(mutex);
    isReady = true;
    changed.notify_one();
  }
  return nullptr;
}

static void unwindsOnThreads() {
  pthread_t thread;
  pthread_create(&thread, nullptr, onAnotherThread, nullptr);
  std::unique_lock<std::mutex> lock(mutex);
  while (!isReady) changed.wait(lock);
  lock.unlock();
  pthread_join(thread, nullptr);
  static std::once_flag once;
  int count = 0;
  for (int i = 0; i < 3; i++) std::call_once(once, [&] { count++; });
  printf("thread, once %d\n", count);
}

static void keepsThings() {
  std::map<int, int> tree;
  std::unordered_map<int, int> table;
  std::list<int> list;
  for (int i = 0; i < 10000; i++) {
    tree[i * 7919 % 10007] = i;
    table[i] = i;
    list.push_back(i);
  }
  for (int i = 0; i < 10000; i += 2) tree.erase(i);
  bool isOrdered = true;
  int before = -1;
  for (const auto &entry : tree) {
    isOrdered &= entry.first > before;
    before = entry.first;
  }
  bool isLater = std::chrono::steady_clock::now() >= std::chrono::steady_clock::time_point();
  printf("kept %d %zu %zu %d\n", isOrdered, table.size(), list.size(), isLater);
}

// Static objects with destructors, one of them guarded.
static Guard atTheEnd;

int main() {
  static Guard guarded;
  unwindsFrames();
  unwindsTheLibrary();
  throwsAgain();
  knowsTypes();
  unwindsOnThreads();
  keepsThings();
  return 0;
}
