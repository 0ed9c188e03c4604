// io/files/posix_file.h
//
// A file descriptor that is closed once, with reads and writes that finish what
// they begin: interrupted calls and short transfers are continued, and every
// refusal becomes an Error that names the file.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace lockstep {

class PosixFile {
  public:
    /// As open(2); the descriptor does not survive exec. @throws Error{not_found}, Error{io_failure}.
    PosixFile(std::filesystem::path path, int flags);
    ~PosixFile();
    PosixFile(PosixFile&& other) noexcept;
    PosixFile& operator=(PosixFile&&) = delete;

    int descriptor() const { return descriptor_; }
    const std::filesystem::path& path() const { return path_; }
    std::uint64_t size() const;  ///< [bytes]
    bool is_regular() const;

    /// Append at the descriptor's position.
    void write(std::span<const std::byte> bytes);
    void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
    /// At most bytes.size() bytes from the descriptor's position. @return fewer only at the end of the file.
    std::size_t read(std::span<std::byte> bytes);
    /// Exactly these bytes. @throws Error{corrupt_data} if the file ends first.
    void read_at(std::uint64_t offset, std::span<std::byte> bytes) const;
    /// Cut or extend (with zeros) to this length.
    void resize(std::uint64_t file_bytes);
    /// Advice: have the disk begin on these bytes now, so that the sync at the end waits for less.
    void begin_sync(std::uint64_t offset, std::uint64_t bytes) noexcept;
    /// What the disk has of the file need not stay in memory: it is not read again soon.
    void forget() noexcept;
    void sync();
    /// Close and say so if the system lost something; a destructor cannot.
    void close();

  private:
    std::filesystem::path path_;
    int descriptor_ = -1;
};

}  // namespace lockstep
