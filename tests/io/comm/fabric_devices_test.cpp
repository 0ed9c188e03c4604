#include "io/comm/fabric_devices.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

class FabricDevicesTest : public testing::Test {
  protected:
    void SetUp() override {
        folder("sys/class/net/eth0");
        folder("dev/shm");
        file("dev/null");
    }
    void folder(const std::string& name) { std::filesystem::create_directories(root() / name); }
    void file(const std::string& name) { std::ofstream(root() / name) << '\n'; }
    std::filesystem::path root() const { return dir_.path(); }

  private:
    TemporaryDirectory dir_;
};

TEST_F(FabricDevicesTest, EthernetAloneIsNone) {
    EXPECT_FALSE(may_have_fabric(root()));
}

TEST_F(FabricDevicesTest, AClassWithoutADeviceIsNone) {
    folder("sys/class/infiniband");
    EXPECT_FALSE(may_have_fabric(root()));
}

TEST_F(FabricDevicesTest, EachKindIsSeen) {
    for (const std::string device : {"sys/class/infiniband/mlx5_0", "sys/class/infiniband_verbs/uverbs0",
                                     "sys/class/cxi/cxi0", "sys/class/cxi_user/cxi0", "sys/class/bxi/bxi0",
                                     "dev/hfi1_0", "dev/ipath", "dev/qib0", "dev/cxi0", "dev/bxi0"}) {
        folder(device);
        EXPECT_TRUE(may_have_fabric(root())) << device;
        std::filesystem::remove(root() / device);
        EXPECT_FALSE(may_have_fabric(root())) << device;
    }
}

TEST_F(FabricDevicesTest, WhatCannotBeToldMayBeThere) {
    std::filesystem::remove_all(root() / "sys");
    EXPECT_TRUE(may_have_fabric(root()));
    folder("sys/class/net/eth0");
    std::filesystem::remove_all(root() / "dev");
    EXPECT_TRUE(may_have_fabric(root()));
}

class SkipAbsentFabricsTest : public FabricDevicesTest {
  protected:
    void SetUp() override {
        FabricDevicesTest::SetUp();
        unsetenv("OMPI_MCA_mtl");
        unsetenv("OMPI_MCA_pml");
    }
    void TearDown() override { unsetenv("OMPI_MCA_pml"); }
    std::string pml_after() const {
        skip_absent_fabrics(root());
        const char* const chosen = std::getenv("OMPI_MCA_pml");
        return chosen == nullptr ? "" : chosen;
    }
};

TEST_F(SkipAbsentFabricsTest, NamesTheLayerOfAHostWithoutAFabric) {
    EXPECT_EQ(pml_after(), "ob1");
}

TEST_F(SkipAbsentFabricsTest, LeavesAHostWithAFabricToOpenMpi) {
    folder("sys/class/infiniband/mlx5_0");
    EXPECT_EQ(pml_after(), "");
}

TEST_F(SkipAbsentFabricsTest, LeavesTheUsersChoice) {
    setenv("OMPI_MCA_pml", "ucx", 1);
    EXPECT_EQ(pml_after(), "ucx");
    unsetenv("OMPI_MCA_pml");
    for (const char* variable : {"OMPI_MCA_mtl", "OMPI_MCA_mtl_ofi_provider_include", "OMPI_MCA_pml_ucx_tls",
                                 "OMPI_MCA_opal_common_ucx_tls"}) {
        setenv(variable, "any", 1);
        EXPECT_EQ(pml_after(), "") << variable;
        unsetenv(variable);
    }
}

}  // namespace
}  // namespace lockstep
