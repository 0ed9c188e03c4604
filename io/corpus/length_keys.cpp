#include "io/corpus/length_keys.h"

#include <algorithm>
#include <array>
#include <bit>
#include <unordered_map>
#include <utility>

#include "io/base/digest.h"

namespace lockstep {

namespace {

/// Hashes that a table of 64 kB can hold at half its size.
constexpr std::size_t table_hashes_max = 4096;

void increment_decimal(std::string& digits) {
    for (std::size_t i = digits.size(); i > 0; --i) {
        if (digits[i - 1] != '9') {
            ++digits[i - 1];
            return;
        }
        digits[i - 1] = '0';
    }
    digits.insert(digits.begin(), '1');
}

bool shortlex_less(std::string_view a, std::string_view b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
}

/// Finds values that stand more than once, in place: parted by their leading byte until a part fits into a
/// table in the cache.
class RepeatedHashes {
  public:
    std::vector<std::uint64_t> find(std::span<std::uint64_t> hashes) {
        part(hashes, 56);
        std::sort(found_.begin(), found_.end());
        found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
        return std::move(found_);
    }

  private:
    void part(std::span<std::uint64_t> hashes, unsigned shift) {
        if (hashes.size() <= table_hashes_max) {
            look_up(hashes);
            return;
        }
        std::array<std::size_t, 256> next{};
        for (const std::uint64_t hash : hashes) ++next[(hash >> shift) & 255U];
        std::array<std::size_t, 256> end{};
        std::size_t sum = 0;
        for (std::size_t i = 0; i < 256; ++i) {
            const std::size_t count = next[i];
            next[i] = sum;
            sum += count;
            end[i] = sum;
        }
        for (std::size_t bin = 0; bin < 256; ++bin) {
            while (next[bin] < end[bin]) {
                std::uint64_t hash = hashes[next[bin]];
                for (std::size_t home = (hash >> shift) & 255U; home != bin; home = (hash >> shift) & 255U) {
                    std::swap(hash, hashes[next[home]++]);
                }
                hashes[next[bin]++] = hash;
            }
        }
        for (std::size_t bin = 0, begin = 0; bin < 256; begin = end[bin++]) {
            const auto rest = hashes.subspan(begin, end[bin] - begin);
            if (rest.size() < 2) continue;
            if (shift == 0) {
                found_.push_back(rest.front());  // All its bytes are equal.
            } else {
                part(rest, shift - 8);
            }
        }
    }

    void look_up(std::span<const std::uint64_t> hashes) {
        const std::size_t slots = std::bit_ceil(2 * hashes.size() + 1);
        table_.assign(slots, 0);
        bool zero_seen = false;
        for (const std::uint64_t hash : hashes) {
            if (hash == 0) {  // An empty slot.
                if (std::exchange(zero_seen, true)) found_.push_back(0);
                continue;
            }
            std::size_t slot = hash & (slots - 1);
            while (table_[slot] != 0 && table_[slot] != hash) slot = (slot + 1) & (slots - 1);
            if (table_[slot] == hash) found_.push_back(hash);
            table_[slot] = hash;
        }
    }

    std::vector<std::uint64_t> table_;
    std::vector<std::uint64_t> found_;
};

}  // namespace

std::vector<RepeatedKey> find_repeated_keys(std::span<const std::uint64_t> key_begin,
                                            std::span<const char> key_bytes) {
    std::vector<RepeatedKey> repeated;
    if (key_begin.size() < 3) return repeated;
    const std::size_t num_keys = key_begin.size() - 1;
    const auto key_at = [&](std::size_t i) {
        return std::string_view(key_bytes.data() + key_begin[i], key_begin[i + 1] - key_begin[i]);
    };
    const auto hash_of = [](std::string_view key) {
        return digest_of(std::as_bytes(std::span(key.data(), key.size()))).low;
    };
    std::vector<std::uint64_t> hashes(num_keys);
    for (std::size_t i = 0; i < num_keys; ++i) hashes[i] = hash_of(key_at(i));
    const std::vector<std::uint64_t> suspects = RepeatedHashes().find(hashes);
    if (suspects.empty()) return repeated;
    std::unordered_map<std::string_view, std::uint64_t> first_place;
    for (std::size_t i = 0; i < num_keys; ++i) {
        const std::string_view key = key_at(i);
        if (!std::binary_search(suspects.begin(), suspects.end(), hash_of(key))) continue;
        const auto [place, is_new] = first_place.emplace(key, i);
        if (!is_new) repeated.push_back({place->second, i});
    }
    return repeated;
}

bool keys_are_indices(std::span<const std::uint64_t> key_begin, std::span<const char> key_bytes) {
    std::string index = "0";
    for (std::size_t i = 0; i + 1 < key_begin.size(); ++i) {
        const std::string_view key(key_bytes.data() + key_begin[i], key_begin[i + 1] - key_begin[i]);
        if (key != index) return false;
        increment_decimal(index);
    }
    return true;
}

void KeyCollector::reserve(std::uint64_t num_keys) {
    reserved_ = num_keys;
    if (only_indices_) return;
    begin_.reserve(num_keys + 1);
    bytes_.reserve(bytes_.size() / count_ * num_keys);
}

void KeyCollector::add(std::string_view key) {
    if (only_indices_) {
        if (key == next_index_) {
            increment_decimal(next_index_);
            ++count_;
            return;
        }
        spell_out_indices();
    }
    if (count_ > 0) {
        const std::string_view previous = std::string_view(bytes_).substr(begin_[count_ - 1]);
        bytewise_ascending_ = bytewise_ascending_ && previous < key;
        shortlex_ascending_ = shortlex_ascending_ && shortlex_less(previous, key);
    }
    bytes_ += key;
    begin_.push_back(bytes_.size());
    ++count_;
}

void KeyCollector::spell_out_indices() {
    only_indices_ = false;
    begin_.reserve(std::max(reserved_, count_ + 1) + 1);
    begin_.push_back(0);
    for (std::uint64_t i = 0; i < count_; ++i) {
        bytes_ += std::to_string(i);
        begin_.push_back(bytes_.size());
    }
    bytewise_ascending_ = count_ <= 10;
}

}  // namespace lockstep
