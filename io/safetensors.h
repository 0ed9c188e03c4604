// io/safetensors.h
//
// Files of named tensors as Hugging Face keeps them (docs/formats/model.md): u64
// header length, a JSON header that gives each tensor its type, shape and place,
// then the tensors, without gap or overlap. Reading converts to float and holds
// no more than a piece of a tensor at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/files/atomic_file.h"
#include "io/files/posix_file.h"

namespace lockstep {

/// The types the format knows. The floating-point ones of two bytes and more can be read as float.
enum class TensorType : std::uint8_t {
    boolean,
    u8,
    i8,
    f8_e5m2,
    f8_e4m3,
    u16,
    i16,
    f16,
    bf16,
    u32,
    i32,
    f32,
    u64,
    i64,
    f64
};

std::string_view name_of(TensorType type);   ///< As in a header: "BF16".
std::size_t element_bytes(TensorType type);  ///< [bytes]
bool converts_to_float(TensorType type);     ///< F64, F32, F16, BF16

struct TensorEntry {
    std::string name;
    TensorType type = TensorType::f32;
    std::vector<std::uint64_t> shape;  ///< Empty for a single number.
    std::uint64_t elements = 1;
    std::uint64_t byte_begin = 0;  ///< In the file.
};

/// A name out of a file, fit for a message: quoted, escaped, not too long.
std::string quoted_name(std::string_view name);
std::string shape_text(std::span<const std::uint64_t> shape);  ///< "(3, 4)"

class SafetensorsFile {
  public:
    /// Checks the whole header against the file.
    /// @throws Error{not_found}, Error{corrupt_data} naming the file and what is wrong with it.
    static SafetensorsFile open(const std::filesystem::path& path);

    const std::filesystem::path& path() const { return file_.path(); }
    std::span<const TensorEntry> tensors() const { return tensors_; }  ///< In the order of their bytes.
    const std::map<std::string, std::string>& metadata() const { return metadata_; }

    /// Elements [first, first + out.size()) of a tensor of this file, row-major. F64 is rounded to nearest.
    /// @throws Error{invalid_argument} if the type is no floating-point one we convert, naming the tensor;
    ///         Error{corrupt_data} if an F64 is finite but no float is.
    void read(const TensorEntry& tensor, std::uint64_t first, std::span<float> out) const;

  private:
    explicit SafetensorsFile(PosixFile file) : file_(std::move(file)) {}
    void read_header();

    PosixFile file_;
    std::vector<TensorEntry> tensors_;
    std::map<std::string, std::string> metadata_;
};

/// All tensors of a model folder: model.safetensors, or the shards that model.safetensors.index.json names.
class SafetensorsFolder {
  public:
    /// @throws Error{not_found} if it has neither; Error{corrupt_data} if a file is damaged, or index and
    ///         shards do not name the same tensors.
    static SafetensorsFolder open(const std::filesystem::path& folder);

    struct Place {
        const SafetensorsFile* file = nullptr;
        const TensorEntry* tensor = nullptr;
    };
    /// By name; pointers live as long as this object, also when it is moved.
    const std::map<std::string, Place>& tensors() const { return places_; }

  private:
    std::vector<SafetensorsFile> files_;
    std::map<std::string, Place> places_;
};

/// Writes one file, tensor after tensor. Equal tensors in equal order are equal bytes.
class SafetensorsWriter {
  public:
    struct Tensor {
        std::string name;
        TensorType type = TensorType::f32;
        std::vector<std::uint64_t> shape;
    };

    /// Writes the header of all that will come to a temporary beside `path`.
    /// @pre names are unique and no "__metadata__".
    /// @throws Error{output_exists, io_failure}.
    SafetensorsWriter(std::filesystem::path path, std::span<const Tensor> tensors,
                      const std::map<std::string, std::string>& metadata, Overwrite overwrite);
    /// Removes the temporary unless it was published.
    ~SafetensorsWriter();
    SafetensorsWriter(const SafetensorsWriter&) = delete;
    SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

    /// The next bytes: tensors in the order announced, each row-major, in pieces of any size.
    void append(std::span<const std::byte> bytes);
    template <class Span>
    void append_array(const Span& values) {
        append(std::as_bytes(values));
    }
    /// Makes the file appear, whole and durable. @pre every tensor has been appended.
    void publish();

  private:
    std::filesystem::path path_;
    Overwrite overwrite_;
    PosixFile file_;
    std::uint64_t bytes_left_ = 0;
    bool published_ = false;
};

}  // namespace lockstep
