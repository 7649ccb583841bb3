#include "ops/embedding/embedding_ref.h"

#include "core/element.h"

namespace octavo {

void embedding_ref(const EmbeddingArgs& args) {
  const int64_t tokens = args.ids.dim(0), width = args.table.dim(1);
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t id = load_at<int64_t>(args.ids, t);
    const float scale = args.table_scale ? load_at<float>(args.table_scale, id) : 1.0f;
    for (int64_t c = 0; c < width; ++c) store_at(args.out, load_at<float>(args.table, id, c) * scale, t, c);
  }
}

}  // namespace octavo
