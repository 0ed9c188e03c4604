// The target without libFuzzer: every input once, then seeded changes to them.
//
//   fuzz_X [--rounds N] [--seed S] FILE|FOLDER…
//
// An input that breaks the rule is left in the current folder as crash-SEED-ROUND;
// `fuzz_X crash-SEED-ROUND` shows it again.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "io/base/philox.h"
#include "tests/fuzz/support/fuzz_target.h"

namespace {

using lockstep::Philox;
namespace fs = std::filesystem;

std::string current_input, current_name;

extern "C" void keep_the_input(int signal_number) {
    const int file = open(current_name.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file >= 0 && write(file, current_input.data(), current_input.size()) >= 0) {
        const char text[] = "the input is kept in ";
        if (write(STDERR_FILENO, text, sizeof text - 1) < 0 ||
            write(STDERR_FILENO, current_name.data(), current_name.size()) < 0 ||
            write(STDERR_FILENO, "\n", 1) < 0) {
            _exit(1);
        }
    }
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

class Changer {
  public:
    explicit Changer(std::uint64_t seed) : random_(seed, "fuzz-replay") {}

    std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : random_.below(draw_++, bound); }

    std::string change(std::string bytes, const std::string& other) {
        for (std::uint64_t changes = 1 + below(4); changes-- != 0;) change_once(bytes, other);
        return bytes;
    }

  private:
    /// Often near an end, where files keep their structure.
    std::uint64_t place(std::uint64_t size) {
        const std::uint64_t which = below(4);
        if (which == 0) return below(std::min<std::uint64_t>(size, 64));
        return which == 1 ? size - std::min(size, 1 + below(600)) : below(size);
    }
    void change_once(std::string& bytes, const std::string& other) {
        const std::uint64_t at = place(bytes.size());
        switch (below(7)) {
            case 0:
                if (!bytes.empty()) bytes[at] = static_cast<char>(below(256));
                return;
            case 1:
                if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
                return;
            case 2:
                return bytes.resize(at);
            case 3:
                bytes.insert(at, bytes.substr(place(bytes.size()), below(40)));
                return;
            case 4:
                bytes.erase(at, below(20));
                return;
            case 5: {
                static const char* const numbers[] = {"0",     "-1",   "18446744073709551615",
                                                      "1e999", "null", "\""};
                bytes.insert(at, numbers[below(6)]);
                return;
            }
            default:
                bytes.replace(at, below(60), other.substr(place(other.size()), below(60)));
        }
    }

    Philox random_;
    std::uint64_t draw_ = 0;
};

std::string bytes_of(const fs::path& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) {
        std::fprintf(stderr, "cannot read %s\n", path.c_str());
        std::exit(2);
    }
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::vector<std::string> inputs_of(const std::vector<fs::path>& places) {
    std::vector<fs::path> files;
    for (const fs::path& place : places) {
        if (!fs::is_directory(place)) files.push_back(place);
        if (fs::is_directory(place)) {
            for (const auto& entry : fs::recursive_directory_iterator(place)) {
                if (entry.is_regular_file()) files.push_back(entry.path());
            }
        }
    }
    std::sort(files.begin(), files.end());
    std::vector<std::string> inputs;
    for (const fs::path& file : files) inputs.push_back(bytes_of(file));
    return inputs;
}

void run(std::string input, const std::string& name) {
    current_input = std::move(input);
    current_name = name;
    // Of its own length, so that a sanitizer sees a read past the end.
    const std::vector<std::uint8_t> exact(current_input.begin(), current_input.end());
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

int main(int argc, char** argv) {
    std::uint64_t rounds = 0, seed = 1;
    std::vector<fs::path> places;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--rounds" && i + 1 < argc) {
            rounds = std::strtoull(argv[++i], nullptr, 10);
        } else if (word == "--seed" && i + 1 < argc) {
            seed = std::strtoull(argv[++i], nullptr, 10);
        } else {
            places.push_back(word);
        }
    }
    const std::vector<std::string> inputs = inputs_of(places);
    if (inputs.empty()) {
        std::fprintf(stderr, "usage: %s [--rounds N] [--seed S] FILE|FOLDER...\n", argv[0]);
        return 2;
    }
    for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL}) signal(number, keep_the_input);
    for (std::size_t i = 0; i < inputs.size(); ++i) run(inputs[i], "crash-input-" + std::to_string(i));
    Changer changer(seed);
    for (std::uint64_t round = 0; round < rounds; ++round) {
        const std::string& one = inputs[changer.below(inputs.size())];
        const std::string& other = inputs[changer.below(inputs.size())];
        run(changer.change(one, other), "crash-" + std::to_string(seed) + "-" + std::to_string(round));
    }
    std::printf("%zu inputs and %llu changes to them: each read or refused\n", inputs.size(),
                static_cast<unsigned long long>(rounds));
    return 0;
}
