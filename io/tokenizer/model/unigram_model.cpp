#include <algorithm>
#include <array>
#include <limits>

#include "io/base/error.h"
#include "io/tokenizer/model/token_model.h"
#include "io/tokenizer/token_index.h"

namespace lockstep {

namespace {

constexpr double unknown_penalty = 10.0;
constexpr std::uint32_t nowhere = 0xFFFFFFFFU;

/// Bytes to node: a hash of (node, byte), so that a vocabulary of any size walks in one probe a byte.
class PrefixTree {
  public:
    void add(std::string_view key, std::uint32_t id) {
        std::uint32_t node = 0;
        for (const char c : key) {
            const auto byte = static_cast<std::uint32_t>(static_cast<unsigned char>(c));
            std::uint32_t next = child(node, byte);
            if (next == nowhere) {
                next = static_cast<std::uint32_t>(ids_.size());
                ids_.push_back(nowhere);
                edges_.push_back({node, byte, 0, next});
                if (2 * edges_.size() > capacity_)
                    rebuild();
                else
                    insert(edges_.back());
            }
            node = next;
        }
        ids_[node] = id;
    }

    std::uint32_t child(std::uint32_t node, std::uint32_t byte) const {
        const std::uint64_t key = (std::uint64_t{node} << 8U) | byte;
        for (std::size_t at = slot_of(key);; at = (at + 1) & (capacity_ - 1)) {
            if (keys_[at] == key) return children_[at];
            if (keys_[at] == empty) return nowhere;
        }
    }
    std::uint32_t id(std::uint32_t node) const { return ids_[node]; }

  private:
    static constexpr std::uint64_t empty = ~std::uint64_t{0};
    std::size_t slot_of(std::uint64_t key) const {
        return ((key * 0x9E3779B97F4A7C15ULL) >> 20U) & (capacity_ - 1);
    }
    void insert(const MergeRule& edge) {
        const std::uint64_t key = (std::uint64_t{edge.left} << 8U) | edge.right;
        std::size_t at = slot_of(key);
        while (keys_[at] != empty) at = (at + 1) & (capacity_ - 1);
        keys_[at] = key;
        children_[at] = edge.result;
    }
    void rebuild() {
        capacity_ *= 2;
        keys_.assign(capacity_, empty);
        children_.assign(capacity_, nowhere);
        for (const MergeRule& edge : edges_) insert(edge);
    }

    std::vector<std::uint32_t> ids_{nowhere};
    std::vector<MergeRule> edges_;
    std::size_t capacity_ = 16;
    std::vector<std::uint64_t> keys_ = std::vector<std::uint64_t>(16, empty);
    std::vector<std::uint32_t> children_ = std::vector<std::uint32_t>(16, nowhere);
};

/// The most probable spelling. On equal scores the earliest start wins, so the longest last piece.
class UnigramModel : public TokenModel {
  public:
    UnigramModel(std::vector<UnigramPiece> pieces, std::optional<std::uint32_t> unknown_id,
                 bool byte_fallback)
        : pieces_(std::move(pieces)), unknown_id_(unknown_id), byte_fallback_(byte_fallback) {
        double least = std::numeric_limits<double>::infinity();
        for (std::size_t i = 0; i < pieces_.size(); ++i) {
            index_.set(pieces_[i].text, static_cast<std::uint32_t>(i));
            if (!pieces_[i].text.empty()) tree_.add(pieces_[i].text, static_cast<std::uint32_t>(i));
            least = std::min(least, pieces_[i].score);
        }
        unknown_score_ = least - unknown_penalty;
        byte_ids_.fill(TokenIndex::none);
        for (unsigned b = 0; b < 256; ++b) byte_ids_[b] = index_.find(byte_token(b));
    }

    void encode_piece(std::string_view piece, ModelScratch& scratch,
                      std::vector<std::uint32_t>& ids) const override {
        spell(piece, scratch, ids, [](std::size_t, std::size_t) {});
    }

    void encode_piece(std::string_view piece, ModelScratch& scratch, std::vector<std::uint32_t>& ids,
                      std::vector<TokenOffsets>& offsets) const override {
        // What is spelled in bytes has one token or more, all with the same offsets.
        std::size_t done = ids.size();
        spell(piece, scratch, ids, [&](std::size_t begin, std::size_t end) {
            offsets.insert(offsets.end(), ids.size() - done, {begin, end});
            done = ids.size();
        });
    }

    void add_to(FingerprintBuilder& builder) const override {
        builder.add("unigram")
            .add(std::uint64_t{unknown_id_.value_or(nowhere)})
            .add(static_cast<std::uint64_t>(byte_fallback_))
            .add(static_cast<std::uint64_t>(pieces_.size()));
        for (const UnigramPiece& piece : pieces_)
            builder.add(piece.text).add(std::bit_cast<std::uint64_t>(piece.score));
    }

  private:
    /// `spelled` is told which bytes the ids behind the last call stand for.
    template <class Spelled>
    void spell(std::string_view piece, ModelScratch& scratch, std::vector<std::uint32_t>& ids,
               const Spelled& spelled) const {
        find_best_path(piece, scratch);
        // Back from the end; neighbouring unknowns become one.
        std::vector<std::uint32_t>& ends = scratch.symbols;
        ends.clear();
        for (std::size_t end = piece.size(); end > 0;) {
            ends.push_back(static_cast<std::uint32_t>(end));
            end = scratch.starts[end];
        }
        std::size_t unknown_begin = piece.size() + 1;
        for (std::size_t i = ends.size(); i-- > 0;) {
            const std::size_t end = ends[i], begin = scratch.starts[end];
            const std::uint32_t id = scratch.best_ids[end];
            if (unknown_id_ && id == *unknown_id_) {
                unknown_begin = std::min(unknown_begin, begin);
                const bool more = i > 0 && scratch.best_ids[ends[i - 1]] == *unknown_id_;
                if (more) continue;
                spell_unknown(piece.substr(unknown_begin, end - unknown_begin), ids);
                spelled(unknown_begin, end);
                unknown_begin = piece.size() + 1;
            } else {
                ids.push_back(id);
                spelled(begin, end);
            }
        }
    }

    void find_best_path(std::string_view piece, ModelScratch& scratch) const {
        auto& starts = scratch.starts;
        auto& scores = scratch.scores;
        auto& best = scratch.best_ids;
        starts.assign(piece.size() + 1, nowhere);
        scores.assign(piece.size() + 1, 0.0);
        best.resize(piece.size() + 1);
        const auto offer = [&](std::size_t begin, std::size_t end, std::uint32_t id, double score) {
            if (starts[end] != nowhere && score <= scores[end]) return;
            starts[end] = static_cast<std::uint32_t>(begin);
            scores[end] = score;
            best[end] = id;
        };
        for (std::size_t begin = 0; begin < piece.size();) {
            std::size_t next = begin + 1;
            while (next < piece.size() && (static_cast<unsigned char>(piece[next]) & 0xC0U) == 0x80U) ++next;
            const double so_far = scores[begin];
            bool single = false;
            std::uint32_t node = 0;
            for (std::size_t end = begin; end < piece.size();) {
                node = tree_.child(node, static_cast<unsigned char>(piece[end]));
                if (node == nowhere) break;
                ++end;
                const std::uint32_t id = tree_.id(node);
                if (id == nowhere) continue;
                offer(begin, end, id, pieces_[id].score + so_far);
                single = single || end == next;
            }
            if (!single) {
                if (!unknown_id_) {
                    throw Error(ErrorCode::corrupt_data,
                                "the text has a character outside the vocabulary, and the tokenizer has no "
                                "token for unknown ones");
                }
                offer(begin, next, *unknown_id_, unknown_score_ + so_far);
            }
            begin = next;
        }
    }

    void spell_unknown(std::string_view text, std::vector<std::uint32_t>& ids) const {
        const std::uint32_t whole = index_.find(text);
        if (whole != TokenIndex::none) {
            ids.push_back(whole);
            return;
        }
        if (byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char c) {
                return byte_ids_[static_cast<unsigned char>(c)] != TokenIndex::none;
            })) {
            for (const char c : text) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
            return;
        }
        ids.push_back(*unknown_id_);
    }

    std::vector<UnigramPiece> pieces_;
    std::optional<std::uint32_t> unknown_id_;
    bool byte_fallback_;
    double unknown_score_ = 0;
    TokenIndex index_;
    PrefixTree tree_;
    std::array<std::uint32_t, 256> byte_ids_{};
};

}  // namespace

std::unique_ptr<TokenModel> make_unigram_model(std::vector<UnigramPiece> pieces,
                                               std::optional<std::uint32_t> unknown_id, bool byte_fallback) {
    return std::make_unique<UnigramModel>(std::move(pieces), unknown_id, byte_fallback);
}

}  // namespace lockstep
