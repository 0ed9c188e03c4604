#include "io/documents/parquet/parquet_levels.h"

namespace lockstep {

HybridDecoder::HybridDecoder(std::span<const std::byte> bytes, unsigned bit_width)
    : bytes_(bytes), width_(bit_width) {
    if (bit_width > 32) throw PageFailure{"numbers of more than 32 bits"};
}

std::uint32_t HybridDecoder::next_slowly() {
    while (packed_left_ == 0 && run_left_ == 0) begin_run();
    if (run_left_ != 0) {
        --run_left_;
        return run_value_;
    }
    --packed_left_;
    return unpack();
}

void HybridDecoder::begin_run() {
    std::uint64_t head = 0;
    unsigned shift = 0;
    for (;; shift += 7) {
        if (position_ == bytes_.size() || shift > 56)
            throw PageFailure{"levels or indices that end too early"};
        const auto part = static_cast<std::uint64_t>(bytes_[position_++]);
        head |= (part & 0x7FU) << shift;
        if ((part & 0x80U) == 0) break;
    }
    if ((head & 1U) != 0) {
        // Groups of eight; the last group may stand for fewer than it says.
        packed_left_ = 8 * (head >> 1U);
        bits_ = 0;
        num_bits_ = 0;
        return;
    }
    run_left_ = head >> 1U;
    run_value_ = 0;
    for (unsigned i = 0; i < (width_ + 7) / 8; ++i) {
        if (position_ == bytes_.size()) throw PageFailure{"a run that ends too early"};
        run_value_ |= static_cast<std::uint32_t>(bytes_[position_++]) << (8 * i);
    }
}

std::uint32_t HybridDecoder::unpack() {
    while (num_bits_ < width_) {
        if (position_ == bytes_.size()) throw PageFailure{"packed numbers that end too early"};
        bits_ |= static_cast<std::uint64_t>(bytes_[position_++]) << num_bits_;
        num_bits_ += 8;
    }
    const auto value = static_cast<std::uint32_t>(bits_ & ((std::uint64_t{1} << width_) - 1));
    bits_ >>= width_;
    num_bits_ -= width_;
    return value;
}

}  // namespace lockstep
