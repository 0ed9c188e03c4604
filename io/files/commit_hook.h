// io/files/commit_hook.h
//
// Named points on the way of a file to its commit, so that a test can kill the
// process, or fail, exactly there. Without a hook a point is one branch.
//
// The points of an object ("shard", "ledger", "manifest"), in order:
//   "shard:before-write"  nothing written yet
//   "shard:written"       the temporary is complete and synced, not yet renamed
//   "shard:renamed"       renamed, the directory not yet synced
//   "shard:published"     durable
// and of retiring a generation: "prune:before-manifest", "prune:manifest-removed",
// "prune:shards-removed", "prune:directory-removed"; of settling a run directory:
// "settle:before-move", "settle:moved" for every entry; of an ingest: "piece:written" and
// "piece:renamed" for each, "validation:…" and "corpus:written", "…:renamed" as the corpora
// appear, "ingest:published", "ingest:removed" around the end of its work folder.

#pragma once

#include <functional>
#include <string_view>

namespace lockstep {

/// Called at every point from now on; an empty function ends that. Set it while no thread commits.
void set_commit_hook(std::function<void(std::string_view point)> hook);

/// While it lives, points of this thread belong to `object` (a literal). Scopes do not nest.
class CommitScope {
  public:
    explicit CommitScope(std::string_view object);
    ~CommitScope();
    CommitScope(const CommitScope&) = delete;
    CommitScope& operator=(const CommitScope&) = delete;
};

/// Reports "<object>:<moment>" of the scope this thread is in; nothing outside a scope.
void commit_point(std::string_view moment);

}  // namespace lockstep
