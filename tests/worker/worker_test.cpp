// The loop itself, over plans and corpora written by hand.

#include "worker/worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "io/comm/agreement.h"
#include "io/files/commit_hook.h"
#include "io/files/directory.h"
#include "io/run/checkpoint.h"
#include "io/run/ledger.h"
#include "tests/support/mpi_main.h"
#include "tests/support/small_corpus.h"
#include "tests/support/temporary_directory.h"
#include "tests/worker/model_cases.h"

namespace lockstep {
namespace {

/// Packs of one sample each, and who computes them.
struct Dealt {
    std::uint64_t sample;
    int rank;
};
using Steps = std::vector<std::vector<Dealt>>;

// Samples of the corpus, by what they are to a check.
constexpr std::uint64_t text = 0, other_text = 1, word = 2;  // A word alone has no target.
constexpr std::uint32_t sample_tokens[] = {5, 9, 1};

class WorkerTest : public testing::Test {
  protected:
    WorkerTest() {
        std::vector<SmallSample> samples;
        for (const std::uint32_t tokens : sample_tokens)
            samples.push_back({small_tokens(tokens, tokens), {}, {}});
        write_small_corpus(corpus_folder_ / "corpus.h5", samples);
        samples_.add(std::make_shared<const Corpus>(Corpus::open(corpus_folder_ / "corpus.h5")));
        settings_.model = small_gpt2(16, small_vocabulary);
        settings_.optimizer.schedule_steps = 100;
        settings_.optimizer.warmup_steps = 2;

        std::vector<std::byte> name;
        const std::string own = (corpus_folder_ / "run").string();
        const auto raw = std::as_bytes(std::span(own.data(), own.size()));
        if (comm_.rank().value == 0) name.assign(raw.begin(), raw.end());
        broadcast_bytes(comm_, name, Rank{0});
        options_.run = std::string(reinterpret_cast<const char*>(name.data()), name.size());
        if (comm_.rank().value == 0) create_directories_durably(options_.run);
        comm_.barrier();
    }
    ~WorkerTest() override { comm_.barrier(); }

    /// The window a rank is given of these steps.
    StepWindow window_of(const Steps& steps) const {
        StepWindow window;
        PlanSlice& slice = window.slice;
        slice.step_end = steps.size();
        for (const auto& packs : steps) {
            std::uint64_t pack = window.step_packs.back(), targets = 0;
            for (const Dealt& dealt : packs) {
                targets += sample_tokens[dealt.sample] - 1;
                if (dealt.rank == comm_.rank().value) {
                    slice.pack.push_back(pack);
                    slice.segment_sample.push_back(dealt.sample);
                    slice.segment_offset.push_back(0);
                    slice.segment_tokens.push_back(sample_tokens[dealt.sample]);
                    slice.segment_begin.push_back(slice.segment_sample.size());
                }
                ++pack;
            }
            window.step_packs.push_back(pack);
            window.step_targets.push_back(targets);
            slice.step_pack_begin.push_back(slice.pack.size());
        }
        check_slice(slice);
        return window;
    }

    std::unique_ptr<Worker> worker_for(const Steps& steps) {
        plan_.num_steps = steps.size();
        plan_.num_epochs = 1;
        plan_.epoch_begin = {0, steps.size()};
        plan_.pack_tokens_max = plan_.segment_tokens_max = 16;
        plan_.plan.bytes[0] = 1;
        auto worker = std::make_unique<Worker>(comm_, gemm_, plan_, samples_, small_vocabulary, settings_);
        worker->fetch_window = [this, steps](std::uint64_t) { return window_of(steps); };
        options_.stop_step = steps.size();
        worker->start(std::nullopt, options_.run);
        return worker;
    }

    Communicator& comm_ = test_communicator();
    ThreadPool pool_{1};
    Gemm gemm_{pool_, GemmBackend::own, {}};
    TemporaryDirectory corpus_folder_;
    SampleSource samples_;
    TrainSettings settings_;
    PlanSummary plan_;
    WorkerOptions options_;
};

TEST_F(WorkerTest, ACrossCheckIsCountedWhereTwoHaveComputedAPack) {
    const int world = comm_.size().value;
    const int last = world - 1;
    const Steps steps = {
        {{text, last}},                      // Only one rank has a pack, whosever turn it is.
        {{text, last}},                      //
        {{text, last}},                      //
        {{word, 0}, {text, last}},           // Of the packs there are, one has no target.
        {{word, last}, {other_text, 0}},     //
        {{word, 0}, {word, last}},           // There is nothing to compare.
        {},                                  // Nor here.
        {{text, 0}, {other_text, 0}},        //
        {{word, 0}, {text, 0}, {word, 0}},   //
        {{other_text, last}, {text, last}},  //
    };
    const auto worker = worker_for(steps);
    std::map<std::uint64_t, std::int64_t> computed;
    worker->hooks.on_gradient = [&](const PackedBatch& batch, int, std::span<float>) {
        ++computed[batch.step];
    };
    std::map<std::uint64_t, std::optional<bool>> agreed;
    worker->on_step = [&](const StepMetrics& metrics) { agreed[metrics.step] = metrics.cross_check_agreed; };
    options_.cross_check_every = 1;
    const WorkerOutcome outcome = worker->run(options_);

    std::int64_t expected_checks = 0;
    for (std::uint64_t step = 0; step < steps.size(); ++step) {
        std::int64_t with_targets = 0;
        for (const Dealt& dealt : steps[step]) with_targets += dealt.sample != word ? 1 : 0;
        const std::int64_t checks = with_targets > 0 ? 1 : 0;
        std::int64_t gradients = computed[step];
        comm_.sum(std::span(&gradients, 1));
        EXPECT_EQ(gradients, with_targets + checks) << "step " << step;
        if (comm_.rank().value == 0) {
            EXPECT_EQ(agreed[step], checks > 0 ? std::optional(true) : std::nullopt) << "step " << step;
        }
        expected_checks += checks;
    }
    EXPECT_EQ(outcome.cross_checks, static_cast<std::uint64_t>(expected_checks));
    EXPECT_EQ(outcome.cross_check_repeats, 0U);
}

TEST_F(WorkerTest, ACrossCheckLeavesTheBits) {
    const int last = comm_.size().value - 1;
    const Steps steps = {{{text, 0}, {other_text, last}}, {{word, 0}, {text, last}}, {{other_text, last}}};
    const std::filesystem::path folder = options_.run;
    std::vector<Fingerprint> digests;
    for (const std::uint64_t every : {0U, 1U}) {
        options_.run = folder / std::to_string(every);
        if (comm_.rank().value == 0) create_directories_durably(options_.run);
        comm_.barrier();
        options_.cross_check_every = every;
        digests.push_back(worker_for(steps)->run(options_).state_digest);
    }
    EXPECT_FALSE(digests[0].empty());
    EXPECT_EQ(digests[0], digests[1]);
}

TEST_F(WorkerTest, AStepComputedAgainForItsScaleIsCheckedOnce) {
    const auto worker = worker_for({{{text, 0}}});
    worker->hooks.on_gradient = [](const PackedBatch&, int attempt, std::span<float> gradient) {
        // Too large for the first scale, not for the next.
        if (attempt == 0) gradient[0] = 0x1p13F;
    };
    options_.cross_check_every = 1;
    EXPECT_EQ(worker->run(options_).cross_checks, 1U);
}

TEST_F(WorkerTest, AFailureOfTheSecondComputationIsTheSameErrorOnAll) {
    const auto worker = worker_for({{{text, 0}}});
    const Rank checker{comm_.size().value > 1 ? 1 : 0};
    worker->hooks.on_gradient = [&, calls = 0](const PackedBatch&, int, std::span<float>) mutable {
        const bool second = comm_.size().value > 1 || ++calls == 2;
        if (comm_.rank() == checker && second) throw std::bad_alloc();
    };
    options_.cross_check_every = 1;
    try {
        worker->run(options_);
        ADD_FAILURE() << "nothing was thrown";
    } catch (const AgreedError& error) {
        if (comm_.size().value > 1) {
            EXPECT_EQ(std::string(error.what()).find("rank 1"), 0U) << error.what();
        }
    }
}

TEST_F(WorkerTest, ALedgerSegmentIsCutBeforeItIsTooLong) {
    const Steps steps(7, {{text, 0}, {other_text, comm_.size().value - 1}});
    std::vector<std::string> roots;
    const auto segments_with = [&](const char* run, LedgerLimits limits) {
        const auto worker = worker_for(steps);
        WorkerOptions options = options_;
        options.run /= run;
        options.checkpoint_every.steps = 0;
        options.ledger_limits = limits;
        if (comm_.rank().value == 0) create_directories_durably(options.run);
        comm_.barrier();
        worker->run(options);
        std::vector<std::uint64_t> ends;
        if (comm_.rank().value == 0) {
            const Manifest newest = list_generations(options.run).back().manifest.value();
            for (const LedgerLink& link :
                 LedgerChains(options.run / "ledger").behind(newest.ledger_head.value()))
                ends.push_back(link.step_end);
            roots.push_back(newest.cursor.ledger_root.hex());
        }
        return ends;
    };
    using Ends = std::vector<std::uint64_t>;
    const bool first = comm_.rank().value == 0;
    EXPECT_EQ(segments_with("whole", {}), first ? Ends({7}) : Ends());
    EXPECT_EQ(segments_with("steps", {.steps = 3}), first ? Ends({3, 6, 7}) : Ends());
    EXPECT_EQ(segments_with("packs", {.packs = 4}), first ? Ends({2, 4, 6, 7}) : Ends());
    for (const std::string& root : roots) EXPECT_EQ(root, roots.front());
}

TEST_F(WorkerTest, NothingIsWrittenAnyMoreOnceARunHasThrown) {
    std::atomic<bool> writing = false, written = false;
    set_commit_hook([&](std::string_view at) {
        if (at != "shard:before-write") return;
        writing = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        written = true;
    });
    {
        const auto worker = worker_for({{{text, 0}}, {{text, 0}}, {{text, 0}}});
        options_.checkpoint_every.steps = 1;
        worker->stop_requested = [&] {
            if (writing) throw std::runtime_error("an error of no rank's own");
            return false;
        };
        // All ranks write before the second step.
        worker->on_progress = [&](std::string_view phase, std::uint64_t step, std::optional<std::uint64_t>) {
            while (phase == "forward" && step == 1 && !writing) std::this_thread::yield();
        };
        EXPECT_THROW(worker->run(options_), std::runtime_error);
        EXPECT_TRUE(written) << "the committer's thread is still at work";
    }
    set_commit_hook({});
}

}  // namespace
}  // namespace lockstep
