// Every column and attribute of every column file: missing, of another type, of another length.

#include <algorithm>
#include <set>

#include "coordinator/plan_file.h"
#include "io/run/checkpoint.h"
#include "io/run/ledger.h"
#include "launch/chaos/column_copy.h"
#include "tests/faults/malformed/malformed_case.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

struct Format {
    std::string name;
    fs::path sound;
    std::function<void(const fs::path&)> read;
    /// What a file may do without, or nobody relies on.
    std::set<std::string> optional;  ///< Nothing rests on them.
};

/// The shard in a copy of its generation, named by a manifest that knows it.
void read_shard(const MalformedWorld& world, const fs::path& file) {
    const fs::path run = world.scratch / "run";
    fs::remove_all(run);
    fs::copy(world.sound.run(), run, fs::copy_options::recursive);
    std::vector<std::string> rejected;
    Manifest manifest = newest_valid_generation(run, rejected).value();
    const fs::path place = generation_directory(run, manifest.step) / manifest.shards.front().file;
    fs::copy_file(file, place, fs::copy_options::overwrite_existing);
    const ColumnFile shard = ColumnFile::open_any(place);
    manifest.shards.front().file_bytes = shard.file_bytes();
    manifest.shards.front().digest_hex = shard.digest_hex();
    const GenerationReader reader = GenerationReader::open(run, manifest);
    std::vector<float> values(manifest.state_elements);
    reader.read_weights(0, values);
    reader.read_adam_m(0, values);
    reader.read_adam_v(0, values);
}

/// The columns in a copy of their folder, as `validate` and the first start read them.
void read_plan(const MalformedWorld& world, const fs::path& file) {
    const fs::path folder = world.scratch / "plan";
    fs::remove_all(folder);
    fs::copy(world.sound.plan_folder(), folder);
    fs::copy_file(file, folder / "plan.h5", fs::copy_options::overwrite_existing);
    PlanFile::open(folder).validate({});
}

std::vector<Format> formats(const MalformedWorld& world) {
    const SmallArtifacts& sound = world.sound;
    return {
        {"corpus",
         sound.folder() / "answered.h5",
         [](const fs::path& file) { Corpus::open(file); },
         {"/@tool_version"}},
        {"lengths",
         sound.folder() / "lengths.h5",
         [](const fs::path& file) { open_lengths(file); },
         {"/loss_tokens"}},
        {"plan",
         sound.plan_folder() / "plan.h5",
         [&world](const fs::path& file) { read_plan(world, file); },
         {}},
        {"ledger",
         sound.file_named("steps-00000000-"),
         [](const fs::path& file) { read_ledger_segment_file(file); },
         {}},
        {"shard",
         sound.file_named("shard-00000"),
         [&world](const fs::path& file) { read_shard(world, file); },
         {}},
    };
}

class ColumnCases {
  public:
    ColumnCases(const MalformedWorld& world, Format format, MalformedCases& cases)
        : world_(world), format_(std::move(format)), cases_(cases) {}

    void add_all() {
        const ColumnCopy sound = take_apart(format_.sound);
        for (std::size_t i = 0; i < sound.columns.size(); ++i) add_column(sound, i);
        for (std::size_t i = 0; i < sound.attributes.size(); ++i) add_attribute(sound, i);
        ColumnCopy later = sound;
        later.version = 99;
        add("a version to come", later, "99");
        ColumnCopy other = sound;
        other.format = "lockstep-other";
        add("another format", other, "lockstep-other");
    }

  private:
    void add(const std::string& what, const ColumnCopy& copy, const std::string& noun) {
        const std::string name = format_.sound.filename().string();
        cases_.push_back({format_.name + ".h5/" + what, 65, {noun}, [this_ = *this, copy, name] {
                              const fs::path file = this_.world_.scratch / name;
                              put_together(copy, file);
                              this_.format_.read(file);
                          }});
    }
    void add_column(const ColumnCopy& sound, std::size_t i) {
        const std::string& name = sound.columns[i].name;
        const std::string word = name.substr(name.rfind('/') + 1);
        ColumnCopy copy = sound;
        copy.columns.erase(copy.columns.begin() + static_cast<std::ptrdiff_t>(i));
        if (!format_.optional.contains(name)) add("without " + name, copy, "");
        copy = sound;
        copy.columns[i].type = sound.columns[i].type == ColumnType::f64 ? ColumnType::i64 : ColumnType::f64;
        copy.columns[i].bytes.resize(sound.columns[i].bytes.size() /
                                     column_type_bytes(sound.columns[i].type) * 8);
        add(name + " of another type", copy, word);
        copy = sound;
        const std::size_t row = column_type_bytes(copy.columns[i].type) * copy.columns[i].width;
        copy.columns[i].bytes.resize(copy.columns[i].bytes.size() + row);
        add(name + " with a row too many", copy, "");
        if (sound.columns[i].bytes.empty()) return;
        copy = sound;
        copy.columns[i].bytes.resize(sound.columns[i].bytes.size() - row);
        add(name + " with a row too few", copy, "");
        copy = sound;
        copy.columns[i].bytes.clear();
        add(name + " empty", copy, "");
    }
    void add_attribute(const ColumnCopy& sound, std::size_t i) {
        const std::string name = sound.attributes[i].group + "@" + sound.attributes[i].name;
        if (format_.optional.contains(name)) return;
        ColumnCopy copy = sound;
        copy.attributes.erase(copy.attributes.begin() + static_cast<std::ptrdiff_t>(i));
        add("without " + name, copy, "");
        copy = sound;
        copy.attributes[i].value = 0.5;
        add(name + " of another type", copy, "");
    }

    const MalformedWorld& world_;
    Format format_;
    MalformedCases& cases_;
};

}  // namespace

void add_column_cases(const MalformedWorld& world, MalformedCases& cases) {
    for (const Format& format : formats(world)) ColumnCases(world, format, cases).add_all();
}

}  // namespace lockstep
