// io/corpus/length_keys.h
//
// The ids of a lengths file: collected as they come in, and searched for
// repetitions in time that does not miss the cache at every id.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

/// An id that stands further up too.
struct RepeatedKey {
    std::uint64_t first;  ///< Where it stands for the first time.
    std::uint64_t index;
};

/// All repetitions, ascending by `index`. Digests are compared first, then the ids themselves.
/// @param key_begin  (num_keys + 1) ascending into key_bytes.
/// 8 bytes a key of memory on top.
std::vector<RepeatedKey> find_repeated_keys(std::span<const std::uint64_t> key_begin,
                                            std::span<const char> key_bytes);

/// Takes ids in order. As long as they are "0", "1", … nothing is stored.
class KeyCollector {
  public:
    void add(std::string_view key);
    /// Only for space; a guess.
    void reserve(std::uint64_t num_keys);

    /// Every id is its own index, so that they say nothing (also when there are none).
    bool only_indices() const { return only_indices_; }
    /// Ids ascend, in the order of bytes or of (length, bytes), so that none can be repeated.
    bool ascending() const { return only_indices_ || bytewise_ascending_ || shortlex_ascending_; }
    /// Empty when only_indices().
    std::vector<std::uint64_t>& begin() { return begin_; }
    std::string& bytes() { return bytes_; }

  private:
    void spell_out_indices();

    bool only_indices_ = true;
    bool bytewise_ascending_ = true;
    bool shortlex_ascending_ = true;
    std::uint64_t count_ = 0;
    std::uint64_t reserved_ = 0;
    std::string next_index_ = "0";
    std::vector<std::uint64_t> begin_;
    std::string bytes_;
};

/// True when key i is the decimal index i.
bool keys_are_indices(std::span<const std::uint64_t> key_begin, std::span<const char> key_bytes);

}  // namespace lockstep
