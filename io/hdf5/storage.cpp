#include "io/hdf5/storage.h"

#include <algorithm>
#include <new>

namespace lockstep {

namespace {

/// What HDF5 knows of an open file; the public part comes first.
struct DriverFile {
    H5FD_t shared{};
    Hdf5Storage* storage = nullptr;
    haddr_t end_of_allocation = 0;
};

DriverFile* driver_file(H5FD_t* file) {
    return reinterpret_cast<DriverFile*>(file);
}

const DriverFile* driver_file(const H5FD_t* file) {
    return reinterpret_cast<const DriverFile*>(file);
}

H5FD_t* open_file(const char*, unsigned, hid_t properties, haddr_t) noexcept {
    const void* info = H5Pget_driver_info(properties);
    auto* file = info == nullptr ? nullptr : new (std::nothrow) DriverFile;
    if (file == nullptr) return nullptr;
    file->storage = *static_cast<Hdf5Storage* const*>(info);
    return &file->shared;
}

herr_t close_file(H5FD_t* file) noexcept {
    delete driver_file(file);
    return 0;
}

herr_t query_features(const H5FD_t*, unsigned long* features) noexcept {
    if (features != nullptr) {
        *features = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA |
                    H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    }
    return 0;
}

haddr_t get_end_of_allocation(const H5FD_t* file, H5FD_mem_t) noexcept {
    return driver_file(file)->end_of_allocation;
}

herr_t set_end_of_allocation(H5FD_t* file, H5FD_mem_t, haddr_t address) noexcept {
    driver_file(file)->end_of_allocation = address;
    return 0;
}

haddr_t get_end_of_file(const H5FD_t* file, H5FD_mem_t) noexcept {
    return driver_file(file)->storage->size();
}

herr_t read_bytes(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, std::size_t size, void* buffer) noexcept {
    return driver_file(file)->storage->read(address, {static_cast<std::byte*>(buffer), size}) ? 0 : -1;
}

herr_t write_bytes(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, std::size_t size,
                   const void* buffer) noexcept {
    driver_file(file)->storage->write(address, {static_cast<const std::byte*>(buffer), size});
    return 0;
}

herr_t truncate_file(H5FD_t* file, hid_t, hbool_t) noexcept {
    driver_file(file)->storage->resize(driver_file(file)->end_of_allocation);
    return 0;
}

H5FD_class_t make_driver() {
    H5FD_class_t driver{};
#ifdef H5FD_CLASS_VERSION  // HDF5 1.14 and later.
    driver.version = H5FD_CLASS_VERSION;
    driver.value = static_cast<H5FD_class_value_t>(512);  // First of the range for drivers under test.
#endif
    driver.name = "lockstep";
    driver.maxaddr = (haddr_t{1} << 63U) - 1;
    driver.fc_degree = H5F_CLOSE_SEMI;
    driver.fapl_size = sizeof(Hdf5Storage*);
    driver.open = open_file;
    driver.close = close_file;
    driver.query = query_features;
    driver.get_eoa = get_end_of_allocation;
    driver.set_eoa = set_end_of_allocation;
    driver.get_eof = get_end_of_file;
    driver.read = read_bytes;
    driver.write = write_bytes;
    driver.truncate = truncate_file;
    constexpr H5FD_mem_t by_use[] = H5FD_FLMAP_DICHOTOMY;
    std::copy(std::begin(by_use), std::end(by_use), std::begin(driver.fl_map));
    return driver;
}

hid_t driver_id(const Hdf5Calls& calls) {
    static const H5FD_class_t driver = make_driver();
    static const hid_t id = calls.checked(H5FDregister(&driver), "register a file driver for");
    return id;
}

}  // namespace

bool Hdf5Storage::read(std::uint64_t offset, std::span<std::byte> bytes) noexcept {
    try {
        const std::uint64_t end = file_->size();
        const std::size_t stored =
            offset >= end ? 0 : static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), end - offset));
        file_->read_at(offset, bytes.first(stored));
        std::ranges::fill(bytes.subspan(stored), std::byte{0});
        return true;
    } catch (...) {
        if (!failure_) failure_ = std::current_exception();
        return false;
    }
}

void Hdf5Storage::write(std::uint64_t offset, std::span<const std::byte> bytes) noexcept {
    if (failure_ || abandoned_) return;
    try {
        file_->write_at(offset, bytes);
    } catch (...) {
        failure_ = std::current_exception();
    }
}

void Hdf5Storage::resize(std::uint64_t file_bytes) noexcept {
    if (failure_ || abandoned_) return;
    try {
        if (file_->size() != file_bytes) file_->resize(file_bytes);
    } catch (...) {
        failure_ = std::current_exception();
    }
}

std::uint64_t Hdf5Storage::size() noexcept {
    if (looks_empty_) return 0;
    try {
        return file_->size();
    } catch (...) {
        if (!failure_) failure_ = std::current_exception();
        return 0;
    }
}

Hdf5Properties file_access_properties(Hdf5Storage& storage, const Hdf5Calls& calls) {
    constexpr std::string_view action = "set properties of";
    constexpr hsize_t alignment_bytes = 64;
    Hdf5Properties properties(calls.checked(H5Pcreate(H5P_FILE_ACCESS), action));
    Hdf5Storage* const info = &storage;
    calls.checked(H5Pset_driver(properties.id(), driver_id(calls), &info), action);
    calls.checked(H5Pset_fclose_degree(properties.id(), H5F_CLOSE_SEMI), action);
    calls.checked(H5Pset_libver_bounds(properties.id(), H5F_LIBVER_V110, H5F_LIBVER_V110), action);
    calls.checked(H5Pset_file_locking(properties.id(), false, true), action);
    calls.checked(H5Pset_alignment(properties.id(), 1, alignment_bytes), action);
    return properties;
}

}  // namespace lockstep
