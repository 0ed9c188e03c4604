// tests/support/refusing_files.h
//
// The kernel's files, but some cannot be opened: out of descriptors, a failing
// disk. Root, who may read everything, meets it too.

#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "tests/support/forwarding_files.h"

namespace lockstep {

class RefusingFiles : public ForwardingFiles {
  public:
    /// Files whose path ends so are refused while this lives. @param reason  an errno.
    RefusingFiles(std::string ending, int reason) : ending_(std::move(ending)), reason_(reason) {}

    int open(const char* path, int flags) override {
        if (std::string_view(path).ends_with(ending_)) {
            errno = reason_;
            return -1;
        }
        return ForwardingFiles::open(path, flags);
    }

  private:
    std::string ending_;
    int reason_;
};

}  // namespace lockstep
