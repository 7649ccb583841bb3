// Scratch memory of a call: an op never allocates, it asks for bytes and finds its aligned start in what it is given.
#pragma once
#include <fmt/format.h>

#include <string_view>

#include "core/buffer.h"
#include "core/check.h"
#include "core/context.h"

namespace octavo {

// Every <op>_workspace_bytes that is not 0 includes this many bytes, so that a workspace may start anywhere.
constexpr int64_t kWorkspaceAlignment = 64;

inline void* workspace_start(const Context& ctx) {
  return reinterpret_cast<void*>(
      round_up(reinterpret_cast<int64_t>(ctx.workspace.data()), kWorkspaceAlignment));
}

// needed: <op>_workspace_bytes, which the message names.
inline void expect_workspace(std::string_view op, const Context& ctx, int64_t needed) {
  const int64_t given = ctx.workspace ? ctx.workspace.numel() * size_of(ctx.workspace.dtype()) : 0;
  if (given < needed || !ctx.workspace.data())
    fail_argument(op, "workspace",
                  fmt::format("holds {} bytes, needs {}; allocate {}_workspace_bytes()", given, needed, op));
}

}  // namespace octavo
