#include "launch/supervisor/host_pool.h"

#include <gtest/gtest.h>

#include "io/base/error.h"

namespace lockstep {
namespace {

TEST(HostPoolTest, HostsAndSlotsAreReadAndWritten) {
    const auto hosts = parse_hosts("n1:8,n2,n-3.local:2");
    EXPECT_EQ(hosts, (std::vector<HostSlots>{{"n1", 8}, {"n2", 1}, {"n-3.local", 2}}));
    EXPECT_EQ(to_text(hosts), "n1:8,n2:1,n-3.local:2");
    EXPECT_EQ(total_slots(hosts), 11);
}

TEST(HostPoolTest, AnythingElseIsRefused) {
    for (const char* text : {"", ",", "n1,", "n1:0", "n1:x", "n1:", ":4", "n1:4:4", "n1;reboot:1", "-x:1",
                             "$(id):1", "n 1:1", "n1:9999999"}) {
        EXPECT_THROW(parse_hosts(text), Error) << text;
    }
}

}  // namespace
}  // namespace lockstep
