#include "io/run/authority.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(AuthorityTest, WhatARunFollowsFromIsTold) {
    for (const char* place : {"run.json", "revisions.json", "checkpoints/step-00000006/manifest.json",
                              "ledger/steps-00000000-00000006-0011.h5", "step-00000006/manifest.json"}) {
        EXPECT_TRUE(has_authority(place)) << place;
    }
    for (const char* place :
         {"LOCK", "metrics.jsonl", "generations.jsonl", "heartbeat.json", "leftovers.json", "supervisor.json",
          "run/supervisor.json", "plan/stats.json", "heartbeat/rank-00001.json", "logs/rank-00000.log",
          "abandoned/step-00000006/x"}) {
        EXPECT_FALSE(has_authority(place)) << place;
    }
}

}  // namespace
}  // namespace lockstep
