#include "plan/shuffle.h"

namespace lockstep {

void DrawSequence::refill() {
    for (std::size_t i = 0; i < words_.size(); i += 4) {
        const PhiloxCounter block = philox_.block(next_block_++);
        for (std::size_t k = 0; k < 4; ++k) words_[i + k] = block[k];
    }
    next_ = 0;
}

}  // namespace lockstep
