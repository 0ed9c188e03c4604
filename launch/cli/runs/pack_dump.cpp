#include "launch/cli/runs/pack_dump.h"

#include <string>

#include "io/safetensors.h"
#include "worker/model/adapter_folder.h"
#include "worker/model/model_folder.h"

namespace lockstep {

void write_pack_dump(const std::filesystem::path& path, const TrainSettings& settings,
                     const Worker::PackResult& result, const Worker::PackDetails& details) {
    const ModelConfig& model = settings.model;
    const PackedBatch& batch = details.batch;
    const std::uint64_t tokens = batch.num_tokens();
    const std::vector<FolderTensor> tensors = folder_tensors(model);
    std::vector<FolderTensor> adapters;
    if (settings.lora) adapters = adapter_tensors(model, *settings.lora);
    const std::vector<FolderTensor>& trained = settings.lora ? adapters : tensors;
    std::vector<SafetensorsWriter::Tensor> header = {
        {"loss_sum", TensorType::f64, {}},         {"scale", TensorType::f32, {}},
        {"token_ids", TensorType::u32, {tokens}},  {"position_ids", TensorType::u32, {tokens}},
        {"targets", TensorType::i32, {tokens}},    {"cu_seqlens", TensorType::i32, {batch.cu_seqlens.size()}},
        {"token_loss", TensorType::f32, {tokens}}, {"logits", TensorType::f32, {tokens, model.vocabulary}},
    };
    const bool has_gradient = !details.gradient.empty();
    for (const FolderTensor& tensor : tensors)
        header.push_back({"weight." + tensor.name, TensorType::f32, tensor.shape});
    for (const FolderTensor& tensor : adapters)
        header.push_back({"weight." + tensor.name, TensorType::f32, tensor.shape});
    for (const FolderTensor& tensor : trained) {
        if (has_gradient) header.push_back({"gradient." + tensor.name, TensorType::f32, tensor.shape});
    }
    SafetensorsWriter writer(path, header,
                             {{"format", "pt"},
                              {"step", std::to_string(batch.step)},
                              {"pack", std::to_string(batch.pack)},
                              {"gradient_fingerprint", result.gradient.hex()}},
                             Overwrite::no);
    writer.append_array(std::span(&result.loss_sum, 1));
    writer.append_array(std::span(&details.scale, 1));
    writer.append_array(std::span(batch.token_ids));
    writer.append_array(std::span(batch.position_ids));
    writer.append_array(std::span(batch.targets));
    writer.append_array(std::span(batch.cu_seqlens));
    writer.append_array(std::span(details.token_loss));
    writer.append_array(std::span(details.logits));
    const auto append_all = [&](const std::vector<FolderTensor>& list, std::span<const float> flat) {
        for (const FolderTensor& tensor : list) append_tensor(writer, tensor, source_of(flat));
    };
    append_all(tensors, details.weights);
    append_all(adapters, details.adapters);
    if (has_gradient) append_all(trained, details.gradient);
    writer.publish();
}

}  // namespace lockstep
