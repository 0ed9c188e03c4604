#include "launch/chaos/artifact_mutator.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/files/atomic_file.h"
#include "io/files/sealed_json.h"
#include "launch/chaos/column_copy.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t version_to_come = 99;

/// Draws in order.
class Dice {
  public:
    explicit Dice(std::uint64_t seed) : random_(seed, "artifact-mutator") {}
    std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_.below(index_++, limit)); }

  private:
    Philox random_;
    std::uint64_t index_ = 0;
};

std::string flip_bits(std::string& bytes, Dice& dice) {
    const std::size_t count = 1 + dice.below(8);
    std::size_t first = 0;
    for (std::size_t i = 0; i < count && !bytes.empty(); ++i) {
        const std::size_t at = dice.below(bytes.size());
        if (i == 0) first = at;
        bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ (1U << dice.below(8)));
    }
    return std::to_string(count) + " bit(s) flipped, the first in byte " + std::to_string(first);
}

std::string cut(std::string& bytes, Dice& dice) {
    if (!bytes.empty()) bytes.resize(dice.below(bytes.size()));
    return "cut to " + std::to_string(bytes.size()) + " bytes";
}

std::string zero_the_tail(std::string& bytes, Dice& dice) {
    const std::size_t begin = bytes.empty() ? 0 : dice.below(bytes.size());
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(begin), bytes.end(), '\0');
    return "zeros from byte " + std::to_string(begin);
}

std::string swap_blocks(std::string& bytes, Dice& dice) {
    std::size_t block = std::size_t{1} << (3 + dice.below(10));  // 8 bytes to 4 KiB.
    while (block > 1 && 2 * block > bytes.size()) block /= 2;
    const std::size_t blocks = bytes.size() / block;
    if (blocks < 2) return "too short to swap blocks";
    const std::size_t a = dice.below(blocks), b = (a + 1 + dice.below(blocks - 1)) % blocks;
    std::swap_ranges(bytes.begin() + static_cast<std::ptrdiff_t>(a * block),
                     bytes.begin() + static_cast<std::ptrdiff_t>((a + 1) * block),
                     bytes.begin() + static_cast<std::ptrdiff_t>(b * block));
    return "blocks " + std::to_string(a) + " and " + std::to_string(b) + " of " + std::to_string(block) +
           " bytes swapped";
}

std::string append(std::string& bytes, Dice& dice) {
    const std::size_t count = 1 + dice.below(5000);
    const bool zeros = dice.below(2) == 0;
    for (std::size_t i = 0; i < count; ++i)
        bytes.push_back(zeros ? '\0' : static_cast<char>(dice.below(256)));
    return std::to_string(count) + (zeros ? " zeros" : " bytes") + " appended";
}

void write_columns_of_later_version(const fs::path& path) {
    ColumnCopy copy = take_apart(path);
    copy.version = version_to_come;
    put_together(copy, path);
}

/// JSON with its own digest, a manifest included; none if the text is no such document.
std::optional<std::string> sealed_with_later_version(const std::string& text) {
    json object = json::parse(text, nullptr, false);
    if (!object.is_object() || !object.contains("digest")) return std::nullopt;
    object.erase("digest");
    for (const char* name : {"format_version", "plan_format_version", "version"}) {
        if (object.contains(name)) object[name] = version_to_come;
    }
    return seal_json(object.dump());
}

std::string raise_version(const fs::path& file, std::string& bytes) {
    if (file.extension() == ".h5") {
        write_columns_of_later_version(file);
        bytes = read_file(file);
    } else if (const auto sealed = sealed_with_later_version(bytes)) {
        bytes = *sealed;
    } else if (const std::size_t at = bytes.find("\"version\":"); at != std::string::npos) {
        bytes.insert(at + std::strlen("\"version\":"), "9");
    }
    return "format version raised";
}

}  // namespace

Mutation mutate(const fs::path& file, const std::vector<fs::path>& donors, std::uint64_t seed) {
    Dice dice(seed);
    const std::string before = read_file(file);
    std::string bytes = before;
    Mutation mutation;
    mutation.kind = static_cast<MutationKind>(dice.below(num_mutation_kinds));
    switch (mutation.kind) {
        case MutationKind::bit_flips:
            mutation.text = flip_bits(bytes, dice);
            break;
        case MutationKind::truncation:
            mutation.text = cut(bytes, dice);
            break;
        case MutationKind::zero_tail:
            mutation.text = zero_the_tail(bytes, dice);
            break;
        case MutationKind::swapped_blocks:
            mutation.text = swap_blocks(bytes, dice);
            break;
        case MutationKind::appended:
            mutation.text = append(bytes, dice);
            break;
        case MutationKind::wrong_file: {
            const fs::path& donor = donors.at(dice.below(donors.size()));
            bytes = read_file(donor);
            mutation.text = "replaced by " + donor.string();
            break;
        }
        case MutationKind::wrong_version:
            mutation.text = raise_version(file, bytes);
            break;
    }
    mutation.changed = bytes != before;
    write_file(file, bytes);
    return mutation;
}

}  // namespace lockstep
