// JSON that carries its own digest, sealed again after one field was changed.

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "coordinator/run_record.h"
#include "io/files/atomic_file.h"
#include "io/files/sealed_json.h"
#include "io/run/checkpoint.h"
#include "tests/faults/malformed/malformed_case.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Read = std::function<void(const std::string& text)>;

json body_of(const fs::path& file) {
    return json::parse(unseal_json(read_file(file), file.string()));
}

/// "cursor.epoch" of "/cursor/epoch".
std::string dotted(const json::json_pointer& place) {
    std::string text = place.to_string().substr(1);
    std::replace(text.begin(), text.end(), '/', '.');
    return text;
}

/// Places of all fields below, objects' and lists' first elements.
void collect(const json& value, const json::json_pointer& at, std::vector<json::json_pointer>& places) {
    if (value.is_object()) {
        for (const auto& [key, inner] : value.items()) {
            places.push_back(at / key);
            collect(inner, at / key, places);
        }
    } else if (value.is_array() && !value.empty()) {
        collect(value[0], at / 0, places);
    }
}

void erase(json& body, const json::json_pointer& place) {
    body.at(place.parent_pointer()).erase(place.back());
}

/// Of another type than it has.
json another_type(const json& value) {
    return value.is_number() ? json("a text") : json(-1.5);
}

/// @param strict  names every field in its message; otherwise the file alone.
void add_fields(const std::string& kind, const json& sound, const std::set<std::string>& free_fields,
                bool strict, const std::string& file, const Read& read, MalformedCases& cases) {
    std::vector<json::json_pointer> places;
    collect(sound, json::json_pointer(), places);
    for (const json::json_pointer& place : places) {
        const std::string field = dotted(place);
        const std::string top = field.substr(0, field.find('.'));
        if (free_fields.contains(top)) continue;
        const std::string noun = strict ? place.back() : "";
        json changed = sound;
        erase(changed, place);
        cases.push_back(
            {kind + "/without " + field, 65, {file, noun}, [read, text = seal_json(changed.dump())] {
                 read(text);
             }});
        changed = sound;
        changed.at(place) = another_type(sound.at(place));
        cases.push_back({kind + "/" + field + " of another type",
                         65,
                         {file, noun},
                         [read, text = seal_json(changed.dump())] { read(text); }});
    }
}

void add_whole_files(const std::string& kind, const json& sound, const std::string& file, const Read& read,
                     MalformedCases& cases) {
    const std::string sealed = seal_json(sound.dump());
    const auto add = [&](const std::string& what, const std::string& text) {
        cases.push_back({kind + "/" + what, 65, {file}, [read, text] { read(text); }});
    };
    add("empty", "");
    add("no JSON", "hello");
    add("a list", "[]");
    add("without a digest", sound.dump());
    add("cut in half", sealed.substr(0, sealed.size() / 2));
    add("cut by a byte", sealed.substr(0, sealed.size() - 2));
    json other = json::parse(sealed);
    other["digest"] = std::string(32, '0');
    add("another digest", other.dump());
    other["digest"] = 7;
    add("a digest that is a number", other.dump());
    other = sound;
    other[other.contains("plan_format_version") ? "plan_format_version" : "format_version"] = 99;
    add("a version to come", seal_json(other.dump()));
}

/// What a plan's folder remembers of its corpora's tokenizers.
void add_tokenizer_records(const json& sound, const Read& read, MalformedCases& cases) {
    const auto add = [&](const std::string& what, const json& records) {
        json changed = sound;
        changed["tokenizers"] = records;
        cases.push_back({"metadata.json/" + what,
                         65,
                         {"metadata.json", "tokenizers"},
                         [read, text = seal_json(changed.dump())] { read(text); }});
    };
    const json records = sound.at("tokenizers");
    const json part = {{"name", "merges"}, {"digest", std::string(32, '0')}, {"count", 3}};
    add("tokenizers are a number", 7);
    add("tokenizers are an object", json::object());
    json more = records;
    more.push_back(nullptr);
    add("tokenizers of more sources", more);
    const auto add_part = [&](const std::string& what, const json& changed) {
        json all = records;
        all[0] = json::array({part, changed});
        add("a tokenizer's part " + what, all);
    };
    add_part("is a number", 7);
    for (const auto& [field, value] : part.items()) {
        json without = part, another = part;
        without.erase(field);
        another[field] = value.is_string() ? json(7) : json("x");
        add_part("without " + field, without);
        add_part("with another " + field, another);
    }
    json all = records;
    all[0] = "text";
    add("a tokenizer's record is a text", all);
}

}  // namespace

void add_sealed_cases(const MalformedWorld& world, MalformedCases& cases) {
    const Read manifest = [](const std::string& text) { manifest_from_json(text, "manifest.json"); };
    const json sound = body_of(world.sound.file_named("manifest.json"));
    add_fields("manifest", sound, {}, true, "manifest.json", manifest, cases);
    add_whole_files("manifest", sound, "manifest.json", manifest, cases);
    json surplus = sound;
    surplus["surplus"] = 1;
    cases.push_back({"manifest/a field nobody knows",
                     65,
                     {"manifest.json", "surplus"},
                     [manifest, text = seal_json(surplus.dump())] { manifest(text); }});

    const Read record = [&world](const std::string& text) {
        world.scratch.write("other-run/run.json", text);
        read_run_record(world.scratch / "other-run");
    };
    const json run = body_of(run_record_path(world.sound.run()));
    // What the worker reads, what says only who wrote it, and what may be a number or a text.
    add_fields("run.json", run, {"settings", "tool_version", "created_at", "keep_every", "checkpoint_every"},
               false, "run.json", record, cases);
    add_whole_files("run.json", run, "run.json", record, cases);
    cases.push_back(
        {"run.json/absent", 66, {"run.json"}, [&world] { read_run_record(world.scratch / "nowhere"); }});

    for (const std::string name : {"fingerprints.json", "metadata.json"}) {
        const fs::path original = world.sound.plan_folder() / name;
        const Read plan = [&world, name](const std::string& text) {
            const fs::path folder = world.scratch / "plan";
            fs::remove_all(folder);
            fs::copy(world.sound.plan_folder(), folder);
            world.scratch.write(fs::path("plan") / name, text);
            const PlanFile file = PlanFile::open(folder);
            file.check_structure();
            check_plan_files(file);
        };
        // Plans of older builds have no tokenizers; those that are there are looked at below.
        const std::set<std::string> free = {"tool_version",   "created_at",  "plan_format_version", "format",
                                            "format_version", "chunk_steps", "tokenizers"};
        add_fields(name, body_of(original), free, false, name, plan, cases);
        add_whole_files(name, body_of(original), name, plan, cases);
        if (name == "metadata.json") add_tokenizer_records(body_of(original), plan, cases);
    }
}

}  // namespace lockstep
