#include "io/columns/early_column.h"

#include <fcntl.h>

#include <algorithm>
#include <string>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"

namespace lockstep {

namespace {

/// Fewer bytes wait for more.
constexpr std::size_t gathered_bytes_max = std::size_t{1} << 16U;
constexpr std::uint64_t begin_sync_bytes = std::uint64_t{4} << 20U;

}  // namespace

EarlyColumn::EarlyColumn(const std::filesystem::path& file, FirstColumn first, std::uint64_t kept_bytes)
    : first_(std::move(first)),
      file_(file, O_RDWR | O_CREAT),
      file_offset_(ColumnFileWriter::offset_of_first_column(PosixFile(file, O_RDWR), first_)),
      kept_bytes_(kept_bytes),
      bytes_written_(kept_bytes),
      sync_begun_(kept_bytes) {
    const std::uint64_t end = kept_bytes == 0 ? 0 : file_offset_ + kept_bytes;
    LOCKSTEP_EXPECTS(file_.size() >= end);
    file_.resize(end);
    // What a writer that did not come to its end left in front of the column would show in the file's gaps.
    if (end != 0) file_.write_at(0, std::vector<std::byte>(file_offset_));
}

void EarlyColumn::append(std::span<const std::byte> bytes) {
    digester_.update(bytes);
    const auto kept = static_cast<std::size_t>(
        std::min<std::uint64_t>(bytes.size(), kept_bytes_ - std::min(kept_bytes_, bytes_)));
    bytes_ += bytes.size();
    bytes = bytes.subspan(kept);
    if (gathered_.size() + bytes.size() < gathered_bytes_max) {
        gathered_.insert(gathered_.end(), bytes.begin(), bytes.end());
        return;
    }
    flush();
    file_.write_at(file_offset_ + bytes_written_, bytes);
    bytes_written_ += bytes.size();
    if (bytes_written_ - sync_begun_ < begin_sync_bytes) return;
    file_.begin_sync(file_offset_ + sync_begun_, bytes_written_ - sync_begun_);
    sync_begun_ = bytes_written_;
}

void EarlyColumn::flush() {
    if (gathered_.empty()) return;
    file_.write_at(file_offset_ + bytes_written_, gathered_);
    bytes_written_ += gathered_.size();
    gathered_.clear();
}

void EarlyColumn::read(std::uint64_t byte_offset, std::span<std::byte> into) const {
    file_.read_at(file_offset_ + byte_offset, into);
}

EarlyColumn::Ended EarlyColumn::end() {
    LOCKSTEP_EXPECTS(bytes_ >= kept_bytes_);
    flush();
    std::vector<std::byte> in_memory;
    if (!wants_block_digests(bytes_)) {
        in_memory.resize(static_cast<std::size_t>(bytes_));
        if (!in_memory.empty()) read(0, in_memory);
        BlockDigester found;
        found.update(in_memory);
        if (found.take() != digester_.take()) {
            throw Error(ErrorCode::io_failure, "'" + file_.path().string() +
                                                   "' reads back different from what was written; check free "
                                                   "space and the health of the disk");
        }
        file_.resize(0);
    }
    return {std::move(first_),    std::move(file_),    file_offset_, bytes_,
            std::move(in_memory), std::move(digester_)};
}

}  // namespace lockstep
