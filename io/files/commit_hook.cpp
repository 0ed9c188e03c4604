#include "io/files/commit_hook.h"

#include <string>
#include <utility>

#include "io/base/contract.h"

namespace lockstep {
namespace {

std::function<void(std::string_view)>& installed_hook() {
    static std::function<void(std::string_view)> hook;
    return hook;
}

thread_local std::string_view current_object;

}  // namespace

void set_commit_hook(std::function<void(std::string_view point)> hook) {
    installed_hook() = std::move(hook);
}

CommitScope::CommitScope(std::string_view object) {
    LOCKSTEP_EXPECTS(current_object.empty());
    current_object = object;
}

CommitScope::~CommitScope() {
    current_object = {};
}

void commit_point(std::string_view moment) {
    const auto& hook = installed_hook();
    if (!hook || current_object.empty()) return;
    hook(std::string(current_object) + ":" + std::string(moment));
}

}  // namespace lockstep
