#include "io/documents/source_kind.h"

#include <array>
#include <string>
#include <string_view>

namespace lockstep {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view gzip_magic = "\x1F\x8B"sv;
constexpr std::string_view zstd_magic = "\x28\xB5\x2F\xFD"sv;
constexpr std::string_view parquet_magic = "PAR1"sv;
constexpr std::string_view megatron_magic = "MMIDIDX\0\0"sv;

std::string first_bytes(const std::filesystem::path& path) {
    PosixFile file = open_source(path);
    if (!file.is_regular()) return {};
    std::array<std::byte, 16> head{};
    const std::size_t got = file.read(head);
    return {reinterpret_cast<const char*>(head.data()), got};
}

/// Opening a pipe only to look would take its writer's first bytes away.
bool is_regular(const std::filesystem::path& path) {
    std::error_code absent;
    return std::filesystem::is_regular_file(path, absent);
}

}  // namespace

SourceKind source_kind_of(const std::filesystem::path& path) {
    std::error_code absent;
    const bool unseen = std::filesystem::exists(path, absent) && !is_regular(path) &&
                        !std::filesystem::is_directory(path, absent);
    const std::string head = unseen ? std::string() : first_bytes(path);
    const std::string extension = path.extension().string();
    SourceKind kind;
    if (extension == ".gz" || head.starts_with(gzip_magic)) {
        kind.compression = Compression::gzip;
    } else if (extension == ".zst" || head.starts_with(zstd_magic)) {
        kind.compression = Compression::zstd;
    } else if (extension == ".parquet" || head.starts_with(parquet_magic)) {
        kind.content = SourceContent::parquet;
        return kind;
    } else if (extension == ".idx" && head.starts_with(megatron_magic)) {
        kind.content = SourceContent::megatron;
        return kind;
    }
    const bool named_compressed = extension == ".gz" || extension == ".zst";
    const std::string inner = named_compressed ? path.stem().extension().string() : extension;
    if (inner == ".jsonl" || inner == ".json" || inner == ".ndjson") kind.content = SourceContent::json_lines;
    return kind;
}

}  // namespace lockstep
