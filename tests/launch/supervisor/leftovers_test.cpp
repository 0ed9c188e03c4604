#include "launch/supervisor/leftovers.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

std::string behind(const std::string& path, uid_t user = 0) {
    return leftover_behind("7f2c-7f2d rw-s 00000000 00:1a 5    " + path, user).string();
}

TEST(LeftoversTest, SegmentsAndSessionsAreKnown) {
    EXPECT_EQ(behind("/dev/shm/vader_segment.vm.0.344e0001.2"), "/dev/shm/vader_segment.vm.0.344e0001.2");
    EXPECT_EQ(behind("/tmp/ompi.vm.0/pid.22704/pmix_dstor_ds21_22704/smseg-877527041-0"),
              "/tmp/ompi.vm.0/pid.22704");
    EXPECT_EQ(behind("/scratch/u 1/ompi.n1.1000/pid.7/x", 1000), "/scratch/u 1/ompi.n1.1000/pid.7");
}

TEST(LeftoversTest, NothingElseIsTouched) {
    for (const char* path :
         {"/dev/shm/other", "/dev/shm/sub/vader_segment.x", "/usr/lib/libmpi.so", "/tmp/ompi.vm.0/contact",
          "/tmp/ompi.vm.0", "[heap]", "", "/dev/shm/vader_segment.vm.0.1.0 (deleted)",
          "/home/u/ompi.d/data/file", "/tmp/ompi.vm.1000/pid.7/x", "/tmp/ompi.vm.10/pid.7/x",
          "/tmp/ompi.0/pid.7/x", "/home/u/ompi.vm.0/pid.d/file", "/home/u/ompi.vm.0/pid./file",
          "/home/u/ompi.vm.0/pid.7a/file"}) {
        EXPECT_EQ(behind(path), "") << path;
    }
}

TEST(LeftoversTest, WhatWasNotSeenIsNotSwept) {
    Leftovers leftovers;
    EXPECT_EQ(leftovers.sweep(), 0U);
}

}  // namespace
}  // namespace lockstep
