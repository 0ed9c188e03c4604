#include "io/tokenizer/token_index.h"

#include <algorithm>

#include "io/base/error.h"

namespace lockstep {

void TokenIndex::set(std::string_view key, std::uint32_t id) {
    if (2 * (count_ + 1) > slots_.size()) grow();
    longest_ = std::max(longest_, key.size());
    const std::uint64_t hash = hash_of_bytes(key.data(), key.size());
    for (std::size_t at = hash & mask_;; at = (at + 1) & mask_) {
        Slot& slot = slots_[at];
        if (slot.id == none) {
            if (text_.size() + key.size() > 0xFFFFFFFFU)
                throw Error(ErrorCode::invalid_argument, "a vocabulary holds at most 4 GiB of text");
            slot = {id, static_cast<std::uint32_t>(key.size()), tag_of(hash),
                    static_cast<std::uint32_t>(text_.size())};
            text_ += key;
            ++count_;
            return;
        }
        if (slot.tag == tag_of(hash) && std::string_view(text_).substr(slot.begin, slot.size) == key) {
            slot.id = id;
            return;
        }
    }
}

void TokenIndex::grow() {
    const std::vector<Slot> old = std::move(slots_);
    slots_.assign(std::max<std::size_t>(16, 2 * old.size()), {});
    mask_ = slots_.size() - 1;
    for (const Slot& slot : old) {
        if (slot.id == none) continue;
        std::size_t at = hash_of_bytes(text_.data() + slot.begin, slot.size) & mask_;
        while (slots_[at].id != none) at = (at + 1) & mask_;
        slots_[at] = slot;
    }
}

}  // namespace lockstep
