// io/documents/parquet/thrift_compact.h
//
// Reading Thrift's compact protocol, as Parquet uses it for its footer and page
// headers. Every length is checked against what is there; nesting is bounded.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace lockstep {

/// Thrown where the bytes end too early or make no sense; callers say in which file.
struct ThriftFailure {
    const char* problem;
    bool ended;  ///< More bytes might have helped.
};

enum class ThriftType : std::uint8_t {
    stop = 0,
    boolean_true = 1,
    boolean_false = 2,
    i8 = 3,
    i16 = 4,
    i32 = 5,
    i64 = 6,
    float64 = 7,
    binary = 8,
    list = 9,
    set = 10,
    map = 11,
    structure = 12,
};

class ThriftReader {
  public:
    explicit ThriftReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

    /// Calls `use(id, type)` for each field of a structure; what it does not read must be skipped by it.
    void structure(const std::function<void(int id, ThriftType type)>& use);
    /// Calls `use()` for each element. @throws unless elements are of this type.
    void list(ThriftType field, ThriftType element, const std::function<void()>& use);
    std::int64_t integer(ThriftType field);
    bool boolean(ThriftType field) const;
    std::string text(ThriftType field);
    void skip(ThriftType field);

    std::size_t position() const { return position_; }

  private:
    std::uint8_t byte();
    std::uint64_t varint();
    std::size_t length();
    void skip_element(ThriftType element);
    static void expect(bool good, const char* problem);
    void enter();

    std::span<const std::byte> bytes_;
    std::size_t position_ = 0;
    int depth_ = 0;
};

}  // namespace lockstep
