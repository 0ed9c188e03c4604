#include "plan/pattern_packing.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "io/base/contract.h"

namespace lockstep {

namespace {

constexpr std::uint32_t grid_units = 1024;
constexpr int iterations_max = 3000;
/// Prices as integers: 1.0 is this. A pattern is worth adding if its prices sum to more by `least_gain`.
constexpr double price_unit = 1099511627776.0;  // 2^40
/// What an integer can't hold is no price: 2^63 of them. Rounding can lead there, where a program is used up.
constexpr double price_limit = 8388608.0;
constexpr std::int64_t pattern_cost = std::int64_t{1} << 40U;
constexpr std::int64_t least_gain = pattern_cost / 50000;

/// Lengths of one unit of the grid: true classes [class_begin, class_end).
struct GridClass {
    std::uint32_t units;
    std::uint32_t class_begin;
    std::uint32_t class_end;
    std::uint64_t segments;
};

struct Grid {
    std::uint32_t capacity;  ///< Units of a pack.
    std::vector<GridClass> classes;
};

Grid make_grid(std::span<const std::uint32_t> class_tokens, std::span<const std::uint64_t> class_segments,
               std::uint32_t tokens_max) {
    std::uint32_t width = 1;  // Tokens of a unit.
    while (tokens_max / width > grid_units) width *= 2;
    Grid grid{tokens_max / width, {}};
    for (std::uint32_t c = 0; c < class_tokens.size(); ++c) {
        const std::uint32_t units = (class_tokens[c] + width - 1) / width;
        if (grid.classes.empty() || grid.classes.back().units != units) {
            grid.classes.push_back({units, c, c, 0});
        }
        grid.classes.back().class_end = c + 1;
        grid.classes.back().segments += class_segments[c];
    }
    // Rounded up, a length above the last whole unit fits no pack of the grid; it goes with the rest.
    std::erase_if(grid.classes, [&](const GridClass& g) { return g.units > grid.capacity; });
    return grid;
}

/// Grid classes and how many of each, ascending by class.
using Pattern = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

/// Prices near the limit may sum to more than it: then to the same everywhere.
std::int64_t wrapping_sum(std::int64_t a, std::int64_t b) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

/// The most valuable pattern for given prices: unbounded knapsack by dynamic programming.
class PatternSearch {
  public:
    PatternSearch(const Grid& grid, std::uint32_t segments_max) : grid_(grid), segments_max_(segments_max) {}

    /// @param prices  (grid classes) of one segment each.
    /// @return the pattern's value; 0 and an empty pattern if nothing has a price.
    std::int64_t best(const std::vector<std::int64_t>& prices, Pattern& pattern) {
        const std::int64_t value = best_of_any_size(prices, pattern);
        std::uint32_t segments = 0;
        for (const auto& [grid_class, times] : pattern) segments += times;
        if (segments_max_ == 0 || segments <= segments_max_) return value;
        return best_of_limited_size(prices, pattern);
    }

  private:
    static constexpr std::uint16_t none = std::numeric_limits<std::uint16_t>::max();

    std::int64_t best_of_any_size(const std::vector<std::int64_t>& prices, Pattern& pattern) {
        value_.assign(grid_.capacity + 1, 0);
        last_.assign(grid_.capacity + 1, none);
        for (std::uint16_t c = 0; c < grid_.classes.size(); ++c) {
            if (prices[c] <= 0) continue;
            const std::uint32_t units = grid_.classes[c].units;
            for (std::uint32_t room = units; room <= grid_.capacity; ++room) {
                const std::int64_t with = wrapping_sum(value_[room - units], prices[c]);
                if (with > value_[room]) {
                    value_[room] = with;
                    last_[room] = c;
                }
            }
        }
        counts_.assign(grid_.classes.size(), 0);
        for (std::uint32_t room = grid_.capacity; last_[room] != none;) {
            ++counts_[last_[room]];
            room -= grid_.classes[last_[room]].units;
        }
        take_counts(pattern);
        return value_[grid_.capacity];
    }

    /// One layer a segment.
    std::int64_t best_of_limited_size(const std::vector<std::int64_t>& prices, Pattern& pattern) {
        const std::size_t row = grid_.capacity + 1;
        value_.assign(row * (segments_max_ + 1), 0);
        last_.assign(row * (segments_max_ + 1), none);
        for (std::size_t layer = 1; layer <= segments_max_; ++layer) {
            std::int64_t* here = value_.data() + layer * row;
            const std::int64_t* below = here - row;
            for (std::uint16_t c = 0; c < grid_.classes.size(); ++c) {
                if (prices[c] <= 0) continue;
                const std::uint32_t units = grid_.classes[c].units;
                for (std::uint32_t room = units; room <= grid_.capacity; ++room) {
                    const std::int64_t with = wrapping_sum(below[room - units], prices[c]);
                    if (with > here[room]) {
                        here[room] = with;
                        last_[layer * row + room] = c;
                    }
                }
            }
        }
        counts_.assign(grid_.classes.size(), 0);
        std::size_t layer = segments_max_;
        for (std::uint32_t room = grid_.capacity; layer > 0 && last_[layer * row + room] != none; --layer) {
            const std::uint16_t c = last_[layer * row + room];
            ++counts_[c];
            room -= grid_.classes[c].units;
        }
        take_counts(pattern);
        return value_[segments_max_ * row + grid_.capacity];
    }

    void take_counts(Pattern& pattern) const {
        pattern.clear();
        for (std::uint32_t c = 0; c < counts_.size(); ++c) {
            if (counts_[c] > 0) pattern.emplace_back(c, counts_[c]);
        }
    }

    const Grid& grid_;
    std::uint32_t segments_max_;
    std::vector<std::int64_t> value_;
    std::vector<std::uint16_t> last_;
    std::vector<std::uint32_t> counts_;
};

/// Revised simplex with an explicit inverse: minimise the number of packs such that the patterns hold exactly
/// the segments of every grid class. Any part of a pattern is one too, so exactly costs no more than at
/// least.
class PatternProgram {
  public:
    PatternProgram(const Grid& grid, std::uint32_t segments_max)
        : rows_(grid.classes.size()),
          inverse_(rows_ * rows_, 0),
          amount_(rows_),
          price_(rows_),
          basis_(rows_) {
        for (std::uint32_t r = 0; r < rows_; ++r) {
            std::uint32_t times = grid.capacity / grid.classes[r].units;
            if (segments_max > 0) times = std::min(times, segments_max);
            basis_[r] = {{r, times}};
            inverse_[r * rows_ + r] = 1.0 / times;
            amount_[r] = static_cast<double>(grid.classes[r].segments) / times;
            price_[r] = 1.0 / times;
        }
    }

    /// Start from a packing: again and again the longest class left over and whatever fits beside it, as
    /// often as segments last. Each such pattern uses a class up, so together they are a basis.
    void start(const Grid& grid, std::uint32_t segments_max) {
        std::vector<std::uint64_t> left(rows_);
        for (std::size_t r = 0; r < rows_; ++r) left[r] = grid.classes[r].segments;
        Pattern pattern;
        for (std::size_t longest = 0; longest < rows_;) {
            if (left[longest] == 0) {
                ++longest;
                continue;
            }
            pattern.clear();
            std::uint32_t room = grid.capacity;
            std::uint32_t segments = segments_max == 0 ? room : segments_max;
            std::uint64_t packs = std::numeric_limits<std::uint64_t>::max();
            for (std::uint32_t r = static_cast<std::uint32_t>(longest); r < rows_ && segments > 0; ++r) {
                const std::uint64_t fit = std::min<std::uint64_t>(room / grid.classes[r].units, segments);
                const auto times = static_cast<std::uint32_t>(std::min(fit, left[r]));
                if (times == 0) continue;
                pattern.emplace_back(r, times);
                packs = std::min(packs, left[r] / times);
                room -= times * grid.classes[r].units;
                segments -= times;
            }
            for (const auto& [r, times] : pattern) left[r] -= packs * times;
            if (!enter(pattern)) return;
        }
    }

    std::vector<std::int64_t> integer_prices() const {
        std::vector<std::int64_t> prices(rows_);
        for (std::size_t r = 0; r < rows_; ++r) {
            const bool sound = price_[r] > 0 && price_[r] < price_limit;
            prices[r] = sound ? static_cast<std::int64_t>(price_[r] * price_unit + 0.5) : 0;
        }
        return prices;
    }

    /// Bring a pattern into the basis. @return false if it can't be: rounding has used the program up.
    bool enter(const Pattern& pattern) {
        direction_.assign(rows_, 0);
        for (std::size_t r = 0; r < rows_; ++r) {
            const double* row = inverse_.data() + r * rows_;
            double sum = 0;
            for (const auto& [grid_class, times] : pattern) sum += row[grid_class] * times;
            direction_[r] = sum;
        }
        std::size_t leaving = rows_;
        double least = 0;
        for (std::size_t r = 0; r < rows_; ++r) {
            if (direction_[r] <= pivot_min) continue;
            const double ratio = amount_[r] / direction_[r];
            if (leaving == rows_ || ratio < least) {
                leaving = r;
                least = ratio;
            }
        }
        if (leaving == rows_) return false;
        pivot(leaving, least, pattern);
        return true;
    }

    /// The program's patterns, each as often as it may be used whole.
    std::vector<std::pair<Pattern, std::uint64_t>> whole_patterns() const {
        std::vector<std::pair<Pattern, std::uint64_t>> whole;
        for (std::size_t r = 0; r < rows_; ++r) {
            const double amount = amount_[r] + 1e-6;
            if (amount >= 1) whole.emplace_back(basis_[r], static_cast<std::uint64_t>(amount));
        }
        return whole;
    }

  private:
    static constexpr double pivot_min = 1e-9;

    void pivot(std::size_t leaving, double amount, const Pattern& pattern) {
        double* pivot_row = inverse_.data() + leaving * rows_;
        const double scale = 1.0 / direction_[leaving];
        double value = 0;
        for (const auto& [grid_class, times] : pattern) value += price_[grid_class] * times;
        for (std::size_t k = 0; k < rows_; ++k) pivot_row[k] = pivot_row[k] * scale;
        for (std::size_t r = 0; r < rows_; ++r) {
            const double factor = direction_[r];
            if (r == leaving || factor == 0) continue;
            double* row = inverse_.data() + r * rows_;
            for (std::size_t k = 0; k < rows_; ++k) row[k] = row[k] - factor * pivot_row[k];
            amount_[r] = std::max(amount_[r] - factor * amount, 0.0);
        }
        amount_[leaving] = amount;
        const double gain = 1.0 - value;
        for (std::size_t k = 0; k < rows_; ++k) price_[k] = price_[k] + gain * pivot_row[k];
        basis_[leaving] = pattern;
    }

    std::size_t rows_;
    std::vector<double> inverse_;  ///< (rows, rows) of the basis.
    std::vector<double> amount_;   ///< (rows) packs of each pattern of the basis.
    std::vector<double> price_;    ///< (rows) of a segment of each grid class.
    std::vector<Pattern> basis_;
    std::vector<double> direction_;
};

/// Gives out segments of true lengths to patterns of grid classes, longest first.
class TrueLengths {
  public:
    TrueLengths(const Grid& grid, std::span<const std::uint64_t> class_segments)
        : grid_(grid), left_(class_segments.begin(), class_segments.end()), next_(grid.classes.size()) {
        for (std::size_t g = 0; g < next_.size(); ++g) next_[g] = grid.classes[g].class_begin;
    }

    /// Fill up to `packs` packs of a pattern; fewer if segments run out. Every shape lasts until a length is
    /// used up.
    void fill(const Pattern& pattern, std::uint64_t packs, PackShapes& shapes) {
        for (const auto& [g, times] : pattern) packs = std::min(packs, segments_left(g) / times);
        while (packs > 0) {
            std::uint64_t copies = packs;
            const std::size_t first = shapes.item_class.size();
            for (const auto& [g, times] : pattern) {
                std::uint32_t c = next_[g];
                std::uint64_t given = 0;  // Of class c, to this pack.
                for (std::uint32_t i = 0; i < times; ++i) {
                    while (left_[c] == given) {
                        ++c;
                        given = 0;
                    }
                    ++given;
                    shapes.item_class.push_back(c);
                }
            }
            // As many equal packs as every length lasts for.
            for (std::size_t i = first; i < shapes.item_class.size();) {
                std::size_t end = i;
                while (end < shapes.item_class.size() && shapes.item_class[end] == shapes.item_class[i])
                    ++end;
                copies = std::min(copies, left_[shapes.item_class[i]] / (end - i));
                i = end;
            }
            for (std::size_t i = first; i < shapes.item_class.size(); ++i)
                left_[shapes.item_class[i]] -= copies;
            for (const auto& [g, times] : pattern) {
                while (next_[g] + 1 < grid_.classes[g].class_end && left_[next_[g]] == 0) ++next_[g];
            }
            shapes.shape_begin.push_back(shapes.item_class.size());
            shapes.shape_packs.push_back(copies);
            packs -= copies;
        }
    }

    const std::vector<std::uint64_t>& left() const { return left_; }

  private:
    std::uint64_t segments_left(std::uint32_t g) const {
        std::uint64_t segments = 0;
        for (std::uint32_t c = next_[g]; c < grid_.classes[g].class_end; ++c) segments += left_[c];
        return segments;
    }

    const Grid& grid_;
    std::vector<std::uint64_t> left_;  ///< (true classes) segments not given out.
    std::vector<std::uint32_t> next_;  ///< (grid classes) first true class with any left.
};

}  // namespace

PackShapes pack_by_patterns(std::span<const std::uint32_t> class_tokens,
                            std::span<const std::uint64_t> class_segments, PackLimits limits) {
    LOCKSTEP_EXPECTS(class_tokens.size() == class_segments.size());
    const Grid grid = make_grid(class_tokens, class_segments, limits.tokens_max);
    PatternProgram program(grid, limits.segments_max);
    PatternSearch search(grid, limits.segments_max);
    Pattern pattern;
    program.start(grid, limits.segments_max);
    for (int iteration = 0; iteration < iterations_max; ++iteration) {
        if (search.best(program.integer_prices(), pattern) < pattern_cost + least_gain) break;
        if (!program.enter(pattern)) break;
    }

    PackShapes shapes;
    TrueLengths lengths(grid, class_segments);
    for (const auto& [whole, packs] : program.whole_patterns()) lengths.fill(whole, packs, shapes);

    // The fractions' rest.
    std::vector<std::uint32_t> rest_class, rest_tokens;
    std::vector<std::uint64_t> rest_segments;
    for (std::uint32_t c = 0; c < class_tokens.size(); ++c) {
        if (lengths.left()[c] == 0) continue;
        rest_class.push_back(c);
        rest_tokens.push_back(class_tokens[c]);
        rest_segments.push_back(lengths.left()[c]);
    }
    PackShapes rest = best_fit_decreasing(rest_tokens, rest_segments, limits);
    for (std::uint32_t& c : rest.item_class) c = rest_class[c];
    shapes.append(rest);
    return shapes;
}

}  // namespace lockstep
