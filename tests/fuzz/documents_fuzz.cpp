// Changed sources, read: a wrong file is one Error, never a crash, a hang or another kind of failure.
//
//   documents_fuzz ROUNDS SEED FILE…
//
// Each round changes a few bytes of one of the files, cuts it, repeats a part, or joins parts of two, and
// reads it to its end. Prints how many were read, and how they ended.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/documents/document_reader.h"

namespace {

using namespace lockstep;

struct Seed {
    std::string extension;  ///< All of it: ".jsonl.gz".
    std::string bytes;
};

Seed read_seed(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    const std::string name = path.filename().string();
    return {name.substr(std::min(name.find('.'), name.size())),
            std::string(std::istreambuf_iterator<char>(stream), {})};
}

class Mutator {
  public:
    explicit Mutator(std::uint64_t seed) : random_(seed, "documents-fuzz") {}

    std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : random_.below(draw_++, bound); }

    std::string change(std::string bytes, const std::string& other) {
        for (std::uint64_t changes = 1 + below(4); changes-- != 0;) {
            const std::uint64_t at = place(bytes.size());
            switch (below(6)) {
                case 0:
                    if (!bytes.empty()) bytes[at] = static_cast<char>(below(256));
                    break;
                case 1:
                    if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
                    break;
                case 2:
                    bytes.resize(at);
                    break;
                case 3:
                    bytes.insert(at, bytes.substr(place(bytes.size()), below(40)));
                    break;
                case 4:
                    bytes.erase(at, below(20));
                    break;
                default:
                    bytes.replace(at, below(60), other.substr(place(other.size()), below(60)));
            }
        }
        return bytes;
    }

  private:
    /// Often near the end, where a Parquet file keeps its structure.
    std::uint64_t place(std::uint64_t size) {
        return below(2) == 0 ? below(size) : size - std::min(size, 1 + below(600));
    }

    Philox random_;
    std::uint64_t draw_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) {
        std::fprintf(stderr, "usage: documents_fuzz ROUNDS SEED FILE...\n");
        return 2;
    }
    const std::uint64_t rounds = std::strtoull(argv[1], nullptr, 10);
    Mutator mutator(std::strtoull(argv[2], nullptr, 10));
    std::vector<Seed> seeds;
    for (int i = 3; i < argc; ++i) seeds.push_back(read_seed(argv[i]));
    DocumentOptions options;
    options.document_bytes_max = std::uint64_t{1} << 20U;
    std::uint64_t sound = 0, refused = 0;
    for (std::uint64_t round = 0; round < rounds; ++round) {
        const Seed& seed = seeds[mutator.below(seeds.size())];
        const std::string bytes = mutator.change(seed.bytes, seeds[mutator.below(seeds.size())].bytes);
        const std::filesystem::path path = std::filesystem::temp_directory_path() /
                                           ("documents-fuzz-" + std::to_string(getpid()) + seed.extension);
        std::ofstream(path, std::ios::binary) << bytes;
        std::uint64_t bad = 0;
        options.skip_bad_max = mutator.below(2) == 0 ? 0 : 1'000'000;
        try {
            read_documents(path, 0, options, bad, [](const Document&) {});
            ++sound;
        } catch (const Error& error) {
            ++refused;
            if (error.code() == ErrorCode::bug) {
                std::fprintf(stderr, "round %llu: %s\n", static_cast<unsigned long long>(round),
                             error.what());
                return 1;
            }
        }
        std::error_code ignored;
        std::filesystem::remove(path, ignored);
    }
    std::printf("%llu files read: %llu to the end, %llu refused\n", static_cast<unsigned long long>(rounds),
                static_cast<unsigned long long>(sound), static_cast<unsigned long long>(refused));
    return 0;
}
