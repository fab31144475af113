// What torch asks of a CUDA build apart from kernels: which devices there are, which one is
// current, and which host memory is pinned. Nothing waits, because all kernels run at once on the
// CPU; cuda_tensor.py provides them.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>

#include <cstdlib>
#include <map>
#include <mutex>

namespace {

thread_local c10::DeviceIndex current = 0;

c10::DeviceIndex number_of_devices() {
  const char* text = std::getenv("REHEARSAL_DEVICES");
  return static_cast<c10::DeviceIndex>(text ? std::atoi(text) : 2);
}

c10::Device device_at(c10::DeviceIndex index) {
  return c10::Device(c10::kCUDA, index < 0 ? current : index);
}

c10::Device exchange(c10::DeviceIndex index) {
  const auto before = device_at(current);
  if (index >= 0) current = index;
  return before;
}

c10::Stream default_stream(c10::Device device) {
  return c10::Stream(c10::Stream::DEFAULT, device_at(device.index()));
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kCUDA; }
  c10::Device exchangeDevice(c10::Device device) const override { return exchange(device.index()); }
  c10::Device getDevice() const override { return device_at(current); }
  void setDevice(c10::Device device) const override { exchange(device.index()); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { exchange(device.index()); }
  c10::DeviceIndex deviceCount() const noexcept override { return number_of_devices(); }

  c10::Stream getStream(c10::Device device) const override { return default_stream(device); }
  c10::Stream getDefaultStream(c10::Device device) const override { return default_stream(device); }
  c10::Stream getNewStream(c10::Device device, int) const override {
    return default_stream(device);
  }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    return default_stream(device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    return default_stream(stream.device());
  }

  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void destroyEvent(void*, c10::DeviceIndex) const noexcept override {}
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(c10::DeviceIndex) const override {}
};

C10_REGISTER_GUARD_IMPL(CUDA, Guard);

// Ordinary memory whose addresses are known to be "pinned".
struct PinnedMemory final : c10::Allocator {
  static PinnedMemory& instance() {
    static PinnedMemory it;
    return it;
  }

  c10::DataPtr allocate(size_t size) override {
    void* start = c10::alloc_cpu(size);
    if (start) {
      std::lock_guard<std::mutex> lock(mutex);
      ends[start] = static_cast<char*>(start) + size;
    }
    return {start, start, &release, c10::Device(c10::kCPU)};
  }

  static void release(void* start) {
    auto& self = instance();
    {
      std::lock_guard<std::mutex> lock(self.mutex);
      self.ends.erase(start);
    }
    c10::free_cpu(start);
  }

  bool holds(const void* address) {
    std::lock_guard<std::mutex> lock(mutex);
    auto after = ends.upper_bound(const_cast<void*>(address));
    return after != ends.begin() && address < std::prev(after)->second;
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* target, const void* source, size_t size) const override {
    default_copy_data(target, source, size);
  }

  std::mutex mutex;
  std::map<void*, const void*> ends;  // by start
};

}  // namespace

namespace at {

// The name is what torch looks for.
struct CUDAHooks final : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  const Generator& getDefaultGenerator(DeviceIndex) const override {
    static Generator generator = at::detail::createCPUGenerator();
    return generator;
  }
  Generator getNewGenerator(DeviceIndex) const override { return at::detail::createCPUGenerator(); }
  Device getDeviceFromPtr(void*) const override { return device_at(current); }
  Allocator* getPinnedMemoryAllocator() const override { return &PinnedMemory::instance(); }
  bool isPinnedPtr(const void* address) const override {
    return PinnedMemory::instance().holds(address);
  }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return number_of_devices() > 0; }
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  bool hasCuDNN() const override { return true; }
  bool compiledWithCuDNN() const override { return true; }
  long versionCuDNN() const override { return 91900; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return number_of_devices(); }
  int getNumGPUs() const override { return number_of_devices(); }
  DeviceIndex current_device() const override { return current; }
  DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(DeviceIndex index) const override { exchange(index); }
  DeviceIndex exchangeDevice(DeviceIndex index) const override { return exchange(index).index(); }
  DeviceIndex maybeExchangeDevice(DeviceIndex index) const override {
    return exchange(index).index();
  }
  void deviceSynchronize(DeviceIndex) const override {}
};

REGISTER_CUDA_HOOKS(CUDAHooks);

}  // namespace at

extern "C" int rehearsal_current_device() { return current; }
extern "C" int rehearsal_exchange_device(int index) {
  return exchange(static_cast<c10::DeviceIndex>(index)).index();
}
