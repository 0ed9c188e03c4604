#include "io/base/host_name.h"

#include <gtest/gtest.h>
#include <sys/utsname.h>

namespace lockstep {
namespace {

TEST(HostNameTest, IsTheSystems) {
    utsname system{};
    ASSERT_EQ(uname(&system), 0);
    EXPECT_EQ(own_host_name(), system.nodename);
}

}  // namespace
}  // namespace lockstep
