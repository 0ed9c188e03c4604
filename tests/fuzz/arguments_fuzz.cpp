// The command line, a line an argument: understood, or refused with code 2. Nothing is done.

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "launch/lockstep.h"
#include "tests/fuzz/support/fuzz_target.h"

namespace {

/// Help and complaints are not what is tested. @return where standard error went.
int silence() {
    const int kept = dup(STDERR_FILENO), nothing = open("/dev/null", O_WRONLY);
    if (kept < 0 || nothing < 0) std::abort();
    dup2(nothing, STDOUT_FILENO);
    dup2(nothing, STDERR_FILENO);
    close(nothing);
    return kept;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = lockstep::fuzz::text_of(data, size);
    std::vector<std::string> words{"lockstep"};
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find_first_of(std::string_view("\n\0", 2), at), text.size());
        words.emplace_back(text.substr(at, end - at));
        at = end + 1;
    }
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const int output = dup(STDOUT_FILENO), errors = silence();
    const int code = lockstep::check_arguments(static_cast<int>(words.size()), arguments.data());
    std::fflush(stdout);
    dup2(output, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    close(output);
    close(errors);
    if (code == 0 || code == 2) return 0;
    std::fprintf(stderr, "FINDING: these arguments end with code %d\n", code);
    std::abort();
}
