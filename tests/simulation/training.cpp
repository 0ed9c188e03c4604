#include "tests/simulation/training.h"

#include <algorithm>
#include <array>
#include <utility>

#include "coordinator/distribution.h"
#include "coordinator/run_record.h"
#include "io/base/error.h"
#include "io/comm/agreement.h"
#include "io/files/directory.h"
#include "io/files/folder_lock.h"
#include "tests/coordinator/served_plan.h"
#include "worker/generation_commit.h"

namespace lockstep::simulation {

namespace {

/// As resume and train --continue go about it.
struct Start {
    std::optional<FolderLock> lock;
    std::optional<Manifest> generation;
};

class RankTraining {
  public:
    explicit RankTraining(RankContext& context)
        : c_(context),
          distribution_(c_.comm, is_root()
                                     ? std::optional(serve(c_.subject.plan(), c_.subject.plan().sources))
                                     : std::nullopt),
          state_(c_.comm, pool_, c_.subject.layout),
          gradient_(state_.slice().size()) {}

    int run() {
        at("finding the point to resume");
        find_start();
        if (start_.generation && start_.generation->step == c_.subject.num_steps()) return end(0);
        load();
        GenerationCommitter committer(c_.comm, pool_, state_, base_, commit_options());
        committer.on_committed = [&](const GenerationCost& cost) {
            c_.witness.reported_durable(cost.step, committer.state_digest());
        };
        try {
            train(committer);
        } catch (const AgreedError&) {
            // As Worker::run: what was snapped before is as good as ever.
            try {
                committer.drain();
            } catch (const AgreedError&) {
            }
            throw;
        }
        committer.drain();
        return end(cursor_.next_step < c_.subject.num_steps() ? exit_code_of(ErrorCode::stopped) : 0);
    }

  private:
    bool is_root() const { return c_.comm.rank().value == 0; }
    int end(int code) {
        c_.heartbeat.ended = true;
        return code;
    }
    void at(const char* phase) {
        c_.heartbeat.phase = phase;
        ++c_.heartbeat.progress;
    }
    CommitOptions commit_options() const {
        RetentionRule rule = c_.options.retention;
        // What the rule itself refuses is asked of a function that does not.
        return {c_.options.run, rule, c_.options.snapshot};
    }

    void find_start() {
        const std::string& run = c_.options.run;
        std::string json;
        together(c_.comm, "finding the point to resume", [&] {
            if (!is_root()) return;
            create_directories_durably(run);
            start_.lock.emplace(run);
            std::vector<std::string> rejected;
            start_.generation = newest_valid_generation(run, rejected);
            c_.witness.recovered(start_.generation, rejected);
            if (!rejected.empty() && !start_.generation) {
                throw Error(ErrorCode::corrupt_data, "no generation is valid: " + rejected.front());
            }
            if (start_.generation) json = to_json(*start_.generation);
        });
        const auto raw = std::as_bytes(std::span(json.data(), json.size()));
        std::vector<std::byte> bytes(raw.begin(), raw.end());
        broadcast_bytes(c_.comm, bytes, Rank{0});
        if (!bytes.empty() && !is_root()) {
            start_.generation =
                manifest_from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "rank 0");
        }
        together(c_.comm, "publishing the run", [&] {
            if (is_root()) publish();
        });
    }

    void publish() {
        const std::string& run = c_.options.run;
        const auto& generation = start_.generation;
        if (!path_exists(run_record_path(run))) {
            RunRecord record;
            record.settings_json = "{}";
            record.numerics = "fma256";
            record.model = c_.subject.model;
            record.plan_path = "/plan";
            record.plan = c_.subject.plan().fingerprints.plan;
            write_run_record(run, record);
        }
        read_run_record(run);
        const auto step = generation ? std::optional(generation->step) : std::nullopt;
        if (c_.options.mistake != Mistake::never_settled) {
            settle_run_directory(run, step, generation ? generation->ledger_head : std::nullopt);
        }
        c_.witness.settled(step);
    }

    void load() {
        cursor_.plan = distribution_.summary().plan;
        cursor_.model = c_.subject.model;
        cursor_.numerics = "fma256";
        cursor_.ledger_root = empty_ledger_root();
        state_.initialize(1);
        if (!start_.generation) return;
        together(c_.comm, "loading the generation", [&] {
            const GenerationReader reader = GenerationReader::open(c_.options.run, *start_.generation);
            state_.load(reader);
            cursor_ = reader.cursor();
        });
        base_.step = start_.generation->step;
        base_.parent = start_.generation->step;
        base_.ledger_head = start_.generation->ledger_head;
        base_.ledger_root = cursor_.ledger_root;
        snapped_ = base_.step;
    }

    void train(GenerationCommitter& committer) {
        const std::uint64_t num_steps = c_.subject.num_steps();
        c_.heartbeat.training = true;
        bool stop = false;
        while (cursor_.next_step < num_steps && !stop) {
            stop = step(committer);
            if (cursor_.next_step % c_.options.checkpoint_every == 0) begin(committer);
        }
        begin(committer);
    }

    void begin(GenerationCommitter& committer) {
        // Nothing new since the last one.
        if (std::exchange(snapped_, cursor_.next_step) == cursor_.next_step) return;
        at("checkpoint");
        if (is_root()) c_.witness.begun(cursor_.next_step);
        if (c_.options.mistake == Mistake::snapshot_of_next_step) update();
        committer.begin(cursor_, rows_);
        if (c_.options.mistake == Mistake::ledger_cut_late && rows_.size() > 1) {
            rows_.erase(rows_.begin(), rows_.end() - 1);
        } else {
            rows_.clear();
        }
    }

    /// @return whether all stop.
    bool step(GenerationCommitter& committer) {
        const std::uint64_t step = cursor_.next_step;
        c_.heartbeat.step = step;
        at("step");
        if (step >= window_.slice.step_end) window_ = distribution_.fetch(step);
        const PlanSlice& slice = window_.slice;
        const std::uint64_t at_step = step - slice.step_begin;
        for (std::uint64_t p = slice.step_pack_begin[at_step]; p < slice.step_pack_begin[at_step + 1]; ++p) {
            LedgerRow row = c_.subject.rows[slice.pack[p]];
            row.rank = static_cast<std::uint32_t>(c_.comm.rank().value);
            row.seconds = static_cast<float>(c_.options.step_seconds);
            rows_.push_back(row);
        }
        // What a step does between its packs.
        constexpr int pieces = 3;
        for (int piece = 0; piece < pieces; ++piece) {
            committer.progress();
            c_.time.sleep(c_.options.step_seconds / pieces);
        }

        constexpr std::size_t words = GenerationCommitter::report_words;
        std::array<std::int64_t, words + 1> said{};
        const auto report = committer.report();
        std::copy(report.begin(), report.end(), said.begin());
        said[words] = c_.stop_asked() ? 1 : 0;
        c_.comm.sum(said);
        GenerationCommitter::Report sum;
        std::copy(said.begin(), said.begin() + words, sum.begin());
        committer.advance(sum);

        update();
        const auto& packs = window_.step_packs;
        cursor_.ledger_root = advance_ledger_root(
            cursor_.ledger_root, step,
            std::span(c_.subject.rows).subspan(packs[at_step], packs[at_step + 1] - packs[at_step]));
        cursor_.targets_seen += window_.step_targets[at_step];
        ++cursor_.next_step;
        cursor_.epoch = distribution_.summary().epoch_of(cursor_.next_step);
        return said[words] != 0;
    }

    /// A gradient that differs from step to step and element to element.
    void update() {
        for (std::size_t i = 0; i < gradient_.size(); ++i) {
            const std::uint64_t element = state_.slice().begin + i;
            gradient_[i] =
                static_cast<std::int64_t>((element * 2654435761U + cursor_.next_step * 40503U) % 4096) - 2048;
        }
        state_.update(c_.subject.optimizer, cursor_.next_step, 0.0, {gradient_, 12});
        state_.all_gather_weights();
    }

    RankContext& c_;
    ThreadPool pool_{1};
    PlanDistribution distribution_;
    ShardedState state_;
    std::vector<std::int64_t> gradient_;
    Start start_;
    Cursor cursor_;
    CommitBase base_;
    StepWindow window_;
    std::vector<LedgerRow> rows_;
    std::uint64_t snapped_ = 0;
};

}  // namespace

int train(RankContext context) {
    try {
        return RankTraining(context).run();
    } catch (const Error& error) {
        context.heartbeat.ended = true;
        return exit_code_of(error.code());
    }
}

}  // namespace lockstep::simulation
