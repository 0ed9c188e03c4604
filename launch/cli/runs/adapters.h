// launch/cli/runs/adapters.h
//
// LoRA on the command line: its options, a run's initial adapters, and the frozen
// weights an export needs.

#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "launch/cli/runs/training.h"

namespace lockstep {

void add_lora_options(CLI::App& verb, TrainingArguments& arguments);

/// Whether anything on the command line asks for adapters.
bool asks_for_lora(const TrainingArguments& arguments);
/// What was given over what is there; makes a model trained whole one with adapters if that is asked for.
/// @throws Error{invalid_argument} on targets the model does not have.
void lay_over_lora(TrainSettings& settings, const TrainingArguments& arguments);

/// Settings of the folder given with --init-adapter, with the fingerprint of its weights; none without one.
/// Logs what is set aside.
std::optional<LoraSettings> initial_adapter_settings(const TrainingArguments& arguments,
                                                     const ModelConfig& model);
/// Rank 0, where --init-adapter was given: the folder must hold the run's initial adapters, by their bits.
/// @throws Error{fingerprint_mismatch}; Error as AdapterFolder.
void check_init_adapter(const TrainSettings& run, const TrainingArguments& arguments);
/// Loads a run's initial adapters from the folder it names, or --init-adapter.
std::function<void(std::span<float>)> initial_adapters_of(const RunRecord& record,
                                                          const TrainingArguments& arguments,
                                                          const TrainSettings& settings);

/// The weights below a run's adapters: read from the folder it names (or `moved_to`), or drawn.
/// @throws Error{fingerprint_mismatch} if they are not those the run began with; Error as WeightsFolder.
std::vector<float> frozen_weights(const RunRecord& record, const std::string& moved_to,
                                  const TrainSettings& settings);

}  // namespace lockstep
