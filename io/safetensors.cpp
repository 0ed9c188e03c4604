#include "io/safetensors.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <bit>
#include <climits>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <tuple>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/files/directory.h"
#include "io/files/json_file.h"

namespace lockstep {

namespace {

using nlohmann::json;

/// The limit of the format's own implementation: a longer header is not meant.
constexpr std::uint64_t header_bytes_max = 100'000'000;
constexpr const char* metadata_name = "__metadata__";

struct TypeRow {
    TensorType type;
    std::string_view name;
    std::size_t bytes;
    bool converts;
};

constexpr std::array type_table = {
    TypeRow{TensorType::boolean, "BOOL", 1, false},    TypeRow{TensorType::u8, "U8", 1, false},
    TypeRow{TensorType::i8, "I8", 1, false},           TypeRow{TensorType::f8_e5m2, "F8_E5M2", 1, false},
    TypeRow{TensorType::f8_e4m3, "F8_E4M3", 1, false}, TypeRow{TensorType::u16, "U16", 2, false},
    TypeRow{TensorType::i16, "I16", 2, false},         TypeRow{TensorType::f16, "F16", 2, true},
    TypeRow{TensorType::bf16, "BF16", 2, true},        TypeRow{TensorType::u32, "U32", 4, false},
    TypeRow{TensorType::i32, "I32", 4, false},         TypeRow{TensorType::f32, "F32", 4, true},
    TypeRow{TensorType::u64, "U64", 8, false},         TypeRow{TensorType::i64, "I64", 8, false},
    TypeRow{TensorType::f64, "F64", 8, true},
};

const TypeRow& row_of(TensorType type) {
    return type_table[static_cast<std::size_t>(type)];
}

float from_half(std::uint16_t bits) {
    const std::uint32_t sign = (bits & 0x8000U) << 16U;
    const std::uint32_t exponent = (bits >> 10U) & 0x1FU;
    const std::uint32_t fraction = bits & 0x3FFU;
    if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000U | (fraction << 13U));
    if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23U) | (fraction << 13U));
    // Below the normal numbers: fraction · 2^-24, which a float holds exactly.
    const float size = static_cast<float>(fraction) * 0x1p-24F;
    return sign != 0 ? -size : size;
}

float from_bfloat(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& what) {
    throw Error(ErrorCode::corrupt_data, "'" + path.string() + "' " + what);
}

/// JSON whose objects are at most `depth_max` deep and name nothing twice, which a parser of its own would
/// settle by taking the last. One line, whatever the file holds.
json parse_strictly(const std::string& text, int depth_max, const std::filesystem::path& path,
                    const std::string& what) {
    std::vector<std::set<std::string>> names;
    const auto watch = [&](int depth, json::parse_event_t event, json& value) {
        if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
            if (depth >= depth_max) refuse(path, what + " is nested too deeply");
        }
        if (event == json::parse_event_t::object_start) names.emplace_back();
        if (event == json::parse_event_t::object_end) names.pop_back();
        if (event == json::parse_event_t::key &&
            !names.back().insert(value.get_ref<const std::string&>()).second) {
            refuse(path, what + " names " + quoted_name(value.get_ref<const std::string&>()) + " twice");
        }
        return true;
    };
    if (const std::size_t end = find_early_end(text); end != std::string::npos)
        refuse(path, what + " is not JSON: malformed at byte " + std::to_string(end + 1));
    try {
        json object = json::parse(text, watch);
        if (!object.is_object()) refuse(path, what + " is not a JSON object");
        return object;
    } catch (const json::parse_error& failure) {
        refuse(path, what + " is not JSON: malformed at byte " + std::to_string(failure.byte));
    } catch (const json::out_of_range&) {
        refuse(path, what + " holds a number that no double can hold");
    }
}

std::uint64_t little_endian(const std::array<std::byte, 8>& bytes) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

/// Type, shape and place of one tensor; the place is [begin, end) of the data.
TensorEntry entry_of(const std::string& name, const json& fields, std::uint64_t& byte_end,
                     const std::filesystem::path& path) {
    const auto wrong = [&](const std::string& what) {
        refuse(path, "has a malformed header: tensor " + quoted_name(name) + " " + what);
    };
    if (!fields.is_object()) wrong("is not an object");
    for (const auto& [key, value] : fields.items()) {
        if (key != "dtype" && key != "shape" && key != "data_offsets") {
            wrong("has the unknown field " + quoted_name(key));
        }
    }
    for (const char* key : {"dtype", "shape", "data_offsets"}) {
        if (!fields.contains(key)) wrong("has no field '" + std::string(key) + "'");
    }
    TensorEntry entry;
    entry.name = name;

    if (!fields["dtype"].is_string()) wrong("has a dtype that is not a text");
    const auto& type = fields["dtype"].get_ref<const std::string&>();
    const auto* row = std::find_if(type_table.begin(), type_table.end(),
                                   [&](const TypeRow& candidate) { return candidate.name == type; });
    if (row == type_table.end()) wrong("has the unknown dtype " + quoted_name(type));
    entry.type = row->type;

    if (!fields["shape"].is_array()) wrong("has a shape that is not a list");
    for (const json& extent : fields["shape"]) {
        if (!extent.is_number_unsigned()) wrong("has a shape that is not of whole numbers");
        entry.shape.push_back(extent.get<std::uint64_t>());
        if (__builtin_mul_overflow(entry.elements, entry.shape.back(), &entry.elements)) {
            wrong("has more elements than can be counted");
        }
    }
    std::uint64_t tensor_bytes = 0;
    if (__builtin_mul_overflow(entry.elements, std::uint64_t{row->bytes}, &tensor_bytes)) {
        wrong("has more bytes than can be counted");
    }

    const json& offsets = fields["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
        wrong("has data_offsets that are not two whole numbers");
    }
    entry.byte_begin = offsets[0].get<std::uint64_t>();
    byte_end = offsets[1].get<std::uint64_t>();
    if (byte_end < entry.byte_begin) wrong("ends before it begins");
    if (byte_end - entry.byte_begin != tensor_bytes) {
        wrong("of shape " + shape_text(entry.shape) + " and dtype " + type + " needs " +
              std::to_string(tensor_bytes) + " bytes, its data_offsets span " +
              std::to_string(byte_end - entry.byte_begin));
    }
    return entry;
}

}  // namespace

std::string_view name_of(TensorType type) {
    return row_of(type).name;
}

std::size_t element_bytes(TensorType type) {
    return row_of(type).bytes;
}

bool converts_to_float(TensorType type) {
    return row_of(type).converts;
}

std::string quoted_name(std::string_view name) {
    constexpr std::size_t shown = 100;
    const std::string text =
        json(std::string(name.substr(0, shown))).dump(-1, ' ', true, json::error_handler_t::replace);
    return "'" + text.substr(1, text.size() - 2) + (name.size() > shown ? "…" : "") + "'";
}

std::string shape_text(std::span<const std::uint64_t> shape) {
    std::string text;
    for (const std::uint64_t extent : shape) text += (text.empty() ? "" : ", ") + std::to_string(extent);
    return "(" + text + ")";
}

// ----------------------------------------------------------- one file

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
    // Without waiting: a pipe in place of the file is an error, not a hang.
    SafetensorsFile result(PosixFile(path, O_RDONLY | O_NONBLOCK));
    if (!result.file_.is_regular()) refuse(path, "is not a regular file");
    result.read_header();
    return result;
}

void SafetensorsFile::read_header() {
    const std::uint64_t file_bytes = file_.size();
    std::array<std::byte, 8> length{};
    if (file_bytes < length.size()) {
        refuse(path(), "is cut short: " + std::to_string(file_bytes) +
                           " bytes, a safetensors file has at least a length of 8");
    }
    file_.read_at(0, length);
    const std::uint64_t header_bytes = little_endian(length);
    if (header_bytes > header_bytes_max) {
        refuse(path(), "is no safetensors file: it announces a header of " + std::to_string(header_bytes) +
                           " bytes, at most " + std::to_string(header_bytes_max) + " are allowed");
    }
    if (header_bytes > file_bytes - length.size()) {
        refuse(path(), "is cut short: its header has " + std::to_string(header_bytes) + " bytes, the file " +
                           std::to_string(file_bytes));
    }
    std::string text(static_cast<std::size_t>(header_bytes), '\0');
    file_.read_at(length.size(), std::as_writable_bytes(std::span(text)));
    if (text.empty() || text.front() != '{') refuse(path(), "has a header that does not begin with '{'");
    const json header = parse_strictly(text, 3, path(), "has a malformed header: it");

    const std::uint64_t data_begin = length.size() + header_bytes;
    const std::uint64_t data_bytes = file_bytes - data_begin;
    std::vector<std::pair<std::uint64_t, TensorEntry>> by_end;
    for (const auto& [name, fields] : header.items()) {
        if (name == metadata_name) {
            if (!fields.is_object()) refuse(path(), "has a malformed header: its __metadata__ is no object");
            for (const auto& [key, value] : fields.items()) {
                if (!value.is_string()) {
                    refuse(path(),
                           "has a malformed header: __metadata__ " + quoted_name(key) + " is not a text");
                }
                metadata_[key] = value.get<std::string>();
            }
            continue;
        }
        std::uint64_t byte_end = 0;
        TensorEntry entry = entry_of(name, fields, byte_end, path());
        if (byte_end > data_bytes) {
            refuse(path(), "is cut short or malformed: tensor " + quoted_name(name) + " ends at byte " +
                               std::to_string(byte_end) + " of the data, the file has " +
                               std::to_string(data_bytes));
        }
        by_end.emplace_back(byte_end, std::move(entry));
    }
    // In the order of their bytes; those without any before what begins where they stand.
    std::sort(by_end.begin(), by_end.end(), [](const auto& a, const auto& b) {
        return std::tie(a.second.byte_begin, a.first, a.second.name) <
               std::tie(b.second.byte_begin, b.first, b.second.name);
    });
    std::uint64_t expected = 0;
    for (auto& [byte_end, entry] : by_end) {
        if (entry.byte_begin != expected) {
            refuse(path(), std::string("has a malformed header: tensor ") + quoted_name(entry.name) +
                               " begins at byte " + std::to_string(entry.byte_begin) +
                               " of the data, the one before it ends at " + std::to_string(expected) +
                               (entry.byte_begin < expected ? " (they overlap)" : " (a hole)"));
        }
        expected = byte_end;
        entry.byte_begin += data_begin;
        tensors_.push_back(std::move(entry));
    }
    if (expected != data_bytes) {
        refuse(path(), "has " + std::to_string(data_bytes - expected) +
                           " bytes after its last tensor that belong to none");
    }
}

namespace {

/// Read a piece of stored numbers and convert each.
template <class Stored, class Convert>
void read_converted(const PosixFile& file, std::uint64_t at, std::span<float> out, const Convert& convert) {
    constexpr std::size_t piece = std::size_t{1} << 16U;
    std::vector<Stored> stored(std::min(piece, out.size()));
    while (!out.empty()) {
        const auto values = std::span(stored).first(std::min(piece, out.size()));
        file.read_at(at, std::as_writable_bytes(values));
        std::transform(values.begin(), values.end(), out.begin(), convert);
        at += values.size_bytes();
        out = out.subspan(values.size());
    }
}

}  // namespace

void SafetensorsFile::read(const TensorEntry& tensor, std::uint64_t first, std::span<float> out) const {
    LOCKSTEP_EXPECTS(first <= tensor.elements && out.size() <= tensor.elements - first);
    const std::uint64_t at = tensor.byte_begin + first * element_bytes(tensor.type);
    if (tensor.type == TensorType::f32) {
        file_.read_at(at, std::as_writable_bytes(out));
    } else if (tensor.type == TensorType::f16) {
        read_converted<std::uint16_t>(file_, at, out, from_half);
    } else if (tensor.type == TensorType::bf16) {
        read_converted<std::uint16_t>(file_, at, out, from_bfloat);
    } else if (tensor.type == TensorType::f64) {
        read_converted<double>(file_, at, out, [&](double value) {
            const auto rounded = static_cast<float>(value);
            if (std::isfinite(value) && !std::isfinite(rounded)) {
                refuse(path(), "holds a number in tensor " + quoted_name(tensor.name) +
                                   " that is too large for a float: " + json(value).dump());
            }
            return rounded;
        });
    } else {
        throw Error(ErrorCode::invalid_argument,
                    "'" + path().string() + "': tensor " + quoted_name(tensor.name) + " has dtype " +
                        std::string(name_of(tensor.type)) + "; weights are read from F64, F32, F16 and BF16");
    }
}

// ----------------------------------------------------------- a folder of files

namespace {

constexpr const char* single_name = "model.safetensors";
constexpr const char* index_name = "model.safetensors.index.json";

/// Tensor -> file, as an index has it.
std::map<std::string, std::string> read_index(const std::filesystem::path& path) {
    const json index = parse_strictly(read_file(path), 8, path, "is a malformed index: it");
    if (!index.contains("weight_map") || !index["weight_map"].is_object() || index["weight_map"].empty()) {
        refuse(path, "is a malformed index: it has no weight_map");
    }
    std::map<std::string, std::string> file_of;
    for (const auto& [name, file] : index["weight_map"].items()) {
        if (!file.is_string())
            refuse(path, "is a malformed index: the file of " + quoted_name(name) + " is no text");
        const std::filesystem::path plain = file.get<std::string>();
        // Shards lie beside their index; a name that leads elsewhere is not followed.
        const bool is_name =
            plain.native().size() <= NAME_MAX && plain.native().find('\0') == std::string::npos;
        if (!is_name || plain != plain.filename() || plain.extension() != ".safetensors") {
            refuse(path, "is a malformed index: " + quoted_name(plain.string()) +
                             " is not the plain name of a .safetensors file");
        }
        file_of[name] = plain.string();
    }
    return file_of;
}

}  // namespace

SafetensorsFolder SafetensorsFolder::open(const std::filesystem::path& folder) {
    SafetensorsFolder result;
    const std::filesystem::path index = folder / index_name;
    std::map<std::string, std::string> file_of;
    std::set<std::string> names;
    const bool single = path_exists(folder / single_name);
    if (single) {
        names.insert(single_name);
    } else if (path_exists(index)) {
        file_of = read_index(index);
        for (const auto& [tensor, file] : file_of) names.insert(file);
    } else if (!path_exists(folder)) {
        throw Error(ErrorCode::not_found, "'" + folder.string() +
                                              "' does not exist; expected a folder with " + single_name +
                                              " (if the model has moved, name it with --init)");
    } else {
        throw Error(ErrorCode::not_found, "'" + folder.string() + "' holds neither " + single_name + " nor " +
                                              index_name + "; save the model as safetensors");
    }
    for (const std::string& name : names) result.files_.push_back(SafetensorsFile::open(folder / name));
    for (const SafetensorsFile& file : result.files_) {
        for (const TensorEntry& tensor : file.tensors()) {
            const auto announced = file_of.find(tensor.name);
            if (!single && (announced == file_of.end() || file.path().filename() != announced->second)) {
                refuse(file.path(),
                       "holds tensor " + quoted_name(tensor.name) + ", which the index does not place there");
            }
            result.places_[tensor.name] = {&file, &tensor};
        }
    }
    for (const auto& [tensor, file] : file_of) {
        if (!result.places_.contains(tensor)) {
            refuse(folder / file,
                   "does not hold tensor " + quoted_name(tensor) + ", which the index places there");
        }
    }
    return result;
}

// ----------------------------------------------------------- writing

namespace {

/// Length and header as they stand in the file; pads so that the data begins at a multiple of 8.
std::string header_of(std::span<const SafetensorsWriter::Tensor> tensors,
                      const std::map<std::string, std::string>& metadata, std::uint64_t& data_bytes) {
    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    if (!metadata.empty()) header[metadata_name] = metadata;
    data_bytes = 0;
    for (const SafetensorsWriter::Tensor& tensor : tensors) {
        LOCKSTEP_EXPECTS(!header.contains(tensor.name) && tensor.name != metadata_name);
        std::uint64_t tensor_bytes = element_bytes(tensor.type);
        for (const std::uint64_t extent : tensor.shape) tensor_bytes *= extent;
        header[tensor.name] = {{"dtype", name_of(tensor.type)},
                               {"shape", tensor.shape},
                               {"data_offsets", {data_bytes, data_bytes + tensor_bytes}}};
        data_bytes += tensor_bytes;
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = text.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path, std::span<const Tensor> tensors,
                                     const std::map<std::string, std::string>& metadata, Overwrite overwrite)
    : path_(std::move(path)),
      overwrite_(overwrite),
      file_((require_writable_output(path_, overwrite), temporary_path(path_)),
            O_WRONLY | O_CREAT | O_TRUNC) {
    try {
        const std::string header = header_of(tensors, metadata, bytes_left_);
        file_.write(std::as_bytes(std::span(header)));
    } catch (...) {
        std::error_code ignored;
        std::filesystem::remove(temporary_path(path_), ignored);
        throw;
    }
}

SafetensorsWriter::~SafetensorsWriter() {
    std::error_code ignored;
    if (!published_) std::filesystem::remove(temporary_path(path_), ignored);
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
    LOCKSTEP_EXPECTS(bytes.size() <= bytes_left_);
    file_.write(bytes);
    bytes_left_ -= bytes.size();
}

void SafetensorsWriter::publish() {
    LOCKSTEP_EXPECTS(bytes_left_ == 0);
    file_.close();
    publish_file(temporary_path(path_), path_, overwrite_);
    published_ = true;
}

}  // namespace lockstep
