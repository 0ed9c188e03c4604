#include "io/documents/parquet/thrift_compact.h"

namespace lockstep {

namespace {

constexpr int depth_max = 32;
constexpr unsigned field_delta_shift = 4;

ThriftType type_of(unsigned code) {
    if (code > static_cast<unsigned>(ThriftType::structure)) throw ThriftFailure{"an unknown type", false};
    return static_cast<ThriftType>(code);
}

std::int64_t from_zigzag(std::uint64_t value) {
    return static_cast<std::int64_t>(value >> 1U) ^ -static_cast<std::int64_t>(value & 1U);
}

bool is_integer(ThriftType type) {
    return type == ThriftType::i16 || type == ThriftType::i32 || type == ThriftType::i64;
}

}  // namespace

void ThriftReader::expect(bool good, const char* problem) {
    if (!good) throw ThriftFailure{problem, false};
}

void ThriftReader::enter() {
    expect(++depth_ <= depth_max, "structures nested too deep");
}

std::uint8_t ThriftReader::byte() {
    if (position_ == bytes_.size()) throw ThriftFailure{"it ends too early", true};
    return static_cast<std::uint8_t>(bytes_[position_++]);
}

std::uint64_t ThriftReader::varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const std::uint64_t part = byte();
        value |= (part & 0x7FU) << shift;
        if ((part & 0x80U) == 0) return value;
    }
    throw ThriftFailure{"a number of more than 64 bits", false};
}

std::size_t ThriftReader::length() {
    const std::uint64_t count = varint();
    // Every element takes at least a byte, so a longer one cannot be true.
    if (count > bytes_.size() - position_) throw ThriftFailure{"a length beyond its end", true};
    return static_cast<std::size_t>(count);
}

void ThriftReader::structure(const std::function<void(int, ThriftType)>& use) {
    enter();
    for (std::int64_t id = 0;;) {
        const unsigned head = byte();
        const ThriftType type = type_of(head & 0x0FU);
        if (type == ThriftType::stop) break;
        const unsigned delta = head >> field_delta_shift;
        id = delta != 0 ? id + delta : from_zigzag(varint());
        expect(id >= 0 && id < (1 << 15), "a field number out of range");
        use(static_cast<int>(id), type);
    }
    --depth_;
}

void ThriftReader::list(ThriftType field, ThriftType element, const std::function<void()>& use) {
    expect(field == ThriftType::list, "a field that should be a list");
    enter();
    const unsigned head = byte();
    std::size_t count = head >> field_delta_shift;
    if (count == 15) count = length();
    expect(count == 0 || type_of(head & 0x0FU) == element, "a list of another type");
    for (std::size_t i = 0; i < count; ++i) use();
    --depth_;
}

std::int64_t ThriftReader::integer(ThriftType field) {
    if (field == ThriftType::i8) return static_cast<std::int8_t>(byte());
    expect(is_integer(field), "a field that should be an integer");
    return from_zigzag(varint());
}

bool ThriftReader::boolean(ThriftType field) const {
    expect(field == ThriftType::boolean_true || field == ThriftType::boolean_false,
           "a field that should be true or false");
    return field == ThriftType::boolean_true;
}

std::string ThriftReader::text(ThriftType field) {
    expect(field == ThriftType::binary, "a field that should be text");
    const std::size_t bytes = length();
    std::string text(reinterpret_cast<const char*>(bytes_.data()) + position_, bytes);
    position_ += bytes;
    return text;
}

/// As `length` trusts, every element takes at least a byte: in a list or map also a boolean does, and there
/// are none of type `stop`.
void ThriftReader::skip_element(ThriftType element) {
    expect(element != ThriftType::stop, "a list or map of no type");
    const bool is_boolean = element == ThriftType::boolean_true || element == ThriftType::boolean_false;
    skip(is_boolean ? ThriftType::i8 : element);
}

void ThriftReader::skip(ThriftType field) {
    switch (field) {
        case ThriftType::stop:
        case ThriftType::boolean_true:
        case ThriftType::boolean_false:
            return;
        case ThriftType::i8:
            byte();
            return;
        case ThriftType::i16:
        case ThriftType::i32:
        case ThriftType::i64:
            varint();
            return;
        case ThriftType::float64:
            if (bytes_.size() - position_ < 8) throw ThriftFailure{"it ends too early", true};
            position_ += 8;
            return;
        case ThriftType::binary:
            position_ += length();
            return;
        case ThriftType::list:
        case ThriftType::set: {
            enter();
            const unsigned head = byte();
            std::size_t count = head >> field_delta_shift;
            if (count == 15) count = length();
            const ThriftType element = type_of(head & 0x0FU);
            for (std::size_t i = 0; i < count; ++i) skip_element(element);
            --depth_;
            return;
        }
        case ThriftType::map: {
            enter();
            const std::size_t count = length();
            if (count != 0) {
                const unsigned types = byte();
                for (std::size_t i = 0; i < count; ++i) {
                    skip_element(type_of(types >> 4U));
                    skip_element(type_of(types & 0x0FU));
                }
            }
            --depth_;
            return;
        }
        case ThriftType::structure:
            structure([this](int, ThriftType type) { skip(type); });
            return;
    }
}

}  // namespace lockstep
