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
            longest_ = std::max(longest_, pieces_[i].text.size());
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
    /// The best paths that reach a stretch of the piece, which begins where all of them meet.
    struct Lattice {
        std::string_view text;  ///< From there on.
        std::vector<std::uint32_t>& starts;
        std::vector<double>& scores;  ///< From the piece's beginning on, whatever the stretch.
        std::vector<std::uint32_t>& best;
        std::size_t reached = 0;  ///< Everything before has been gone on from.

        void open(std::size_t bytes) {
            const std::size_t nodes = std::min(bytes, text.size()) + 1;
            if (nodes <= starts.size()) return;
            starts.resize(nodes, nowhere);
            scores.resize(nodes, 0.0);
            if (best.size() < nodes) best.resize(nodes);
        }
    };

    /// `spelled` is told which bytes the ids behind the last call stand for.
    template <class Spelled>
    void spell(std::string_view piece, ModelScratch& scratch, std::vector<std::uint32_t>& ids,
               const Spelled& spelled) const {
        Lattice lattice{piece, scratch.starts, scratch.scores, scratch.best_ids};
        scratch.starts.clear();
        scratch.scores.clear();
        std::size_t window = scratch.window_bytes;
        for (std::size_t done = 0;;) {
            const bool last = lattice.text.size() <= window;
            lattice.open(window + longest_);
            follow(lattice, last ? lattice.text.size() : window);
            const std::size_t end = last ? lattice.text.size() : common_node(lattice, scratch.symbols);
            if (end == 0 && !last) {
                window *= 2;
                continue;
            }
            spell_path(lattice, end, scratch.symbols, ids, [&](std::size_t begin, std::size_t token_end) {
                spelled(done + begin, done + token_end);
            });
            if (last) return;
            move_on(lattice, end);
            done += end;
            window = scratch.window_bytes;
        }
    }

    /// Where all paths that may go on have met last, and no unknown character ends; 0: nowhere yet.
    std::size_t common_node(const Lattice& lattice, std::vector<std::uint32_t>& open) const {
        open.clear();
        for (std::size_t node = lattice.reached; node < lattice.starts.size(); ++node)
            if (lattice.starts[node] != nowhere) open.push_back(static_cast<std::uint32_t>(node));
        // The rightmost goes back until it stands on another.
        while (open.size() > 1) {
            const std::uint32_t start = lattice.starts[open.back()];
            open.pop_back();
            const auto at = std::lower_bound(open.begin(), open.end(), start);
            if (at == open.end() || *at != start) open.insert(at, start);
        }
        std::size_t node = open.front();
        while (node > 0 && unknown_id_ && lattice.best[node] == *unknown_id_) node = lattice.starts[node];
        return node;
    }

    /// Forget what is before `node`.
    static void move_on(Lattice& lattice, std::size_t node) {
        const auto cut = static_cast<std::ptrdiff_t>(node);
        lattice.starts.erase(lattice.starts.begin(), lattice.starts.begin() + cut);
        lattice.scores.erase(lattice.scores.begin(), lattice.scores.begin() + cut);
        lattice.best.erase(lattice.best.begin(), lattice.best.begin() + cut);
        for (std::uint32_t& start : lattice.starts) {
            // Those from before the node belong to paths that have ended.
            if (start != nowhere) start -= std::min(start, static_cast<std::uint32_t>(node));
        }
        lattice.text.remove_prefix(node);
        lattice.reached -= node;
    }

    template <class Spelled>
    void spell_path(const Lattice& lattice, std::size_t path_end, std::vector<std::uint32_t>& ends,
                    std::vector<std::uint32_t>& ids, const Spelled& spelled) const {
        // Back from the end; neighbouring unknowns become one.
        ends.clear();
        for (std::size_t end = path_end; end > 0; end = lattice.starts[end])
            ends.push_back(static_cast<std::uint32_t>(end));
        std::size_t unknown_begin = path_end + 1;
        for (std::size_t i = ends.size(); i-- > 0;) {
            const std::size_t end = ends[i], begin = lattice.starts[end];
            const std::uint32_t id = lattice.best[end];
            if (unknown_id_ && id == *unknown_id_) {
                unknown_begin = std::min(unknown_begin, begin);
                const bool more = i > 0 && lattice.best[ends[i - 1]] == *unknown_id_;
                if (more) continue;
                spell_unknown(lattice.text.substr(unknown_begin, end - unknown_begin), ids);
                spelled(unknown_begin, end);
                unknown_begin = path_end + 1;
            } else {
                ids.push_back(id);
                spelled(begin, end);
            }
        }
    }

    /// Best paths to all nodes that are reached from those before `limit`.
    void follow(Lattice& lattice, std::size_t limit) const {
        const std::string_view text = lattice.text;
        const auto offer = [&](std::size_t begin, std::size_t end, std::uint32_t id, double score) {
            if (lattice.starts[end] != nowhere && score <= lattice.scores[end]) return;
            lattice.starts[end] = static_cast<std::uint32_t>(begin);
            lattice.scores[end] = score;
            lattice.best[end] = id;
        };
        while (lattice.reached < limit) {
            const std::size_t begin = lattice.reached;
            std::size_t next = begin + 1;
            while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xC0U) == 0x80U) ++next;
            lattice.open(next + longest_);
            const double so_far = lattice.scores[begin];
            bool single = false;
            std::uint32_t node = 0;
            for (std::size_t end = begin; end < text.size();) {
                node = tree_.child(node, static_cast<unsigned char>(text[end]));
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
            lattice.reached = next;
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
    std::size_t longest_ = 1;  ///< [bytes] of a piece.
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
