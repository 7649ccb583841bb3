// The filters of jinja2 that work on many values. Those that are generators there are lazy here: what is never asked for is
// never computed, and a second walk finds nothing.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tokenizer/chat_template_builtins.h"
#include "tokenizer/chat_template_text.h"

namespace octavo::chat {

using Kind = Value::Kind;

namespace {

Value text_of(std::string s) { return Value::text(std::move(s)); }

Value ignoring_case(const Value& v, bool case_sensitive) {
  return !case_sensitive && v.is(Kind::text) ? text_of(lower(v.utf8())) : v;
}

// What an iterator holds on to; freeing and walking a chain of them recurses.
int deepest(const Value& source, const CallArguments& a) {
  int depth = source.depth();
  for (const Value& v : a.positional) depth = std::max(depth, v.depth());
  for (const auto& [name, v] : a.named) depth = std::max(depth, v.depth());
  return depth;
}

// One filter of a lazy chain: `transform` turns an element of `source` into one of the result, or skips it (false).
Value lazily(const Value& source, const CallArguments& arguments,
             std::function<bool(const Value&, Value&)> transform) {
  auto cursor = std::make_shared<Cursor>(source);
  return make_iterator(
      [cursor, transform = std::move(transform)](Value& out) {
        for (Value v; cursor->next(v);)
          if (transform(v, out)) return true;
        return false;
      },
      deepest(source, arguments));
}

bool pass_on(const Value& element, Value& out) {
  out = element;
  return true;
}

Value map_filter(const Value& v, CallArguments& a) {
  if (a.positional.empty()) {
    const Bound b("map", a, {"attribute", "default"});
    if (!b.has(0)) fail("map requires a filter argument");
    const Value path = b[0], fallback = b.value_or(1, Value::none());
    return lazily(v, a, [path, fallback](const Value& element, Value& out) {
      out = item_at_path(element, path, fallback);
      return true;
    });
  }
  const std::string name = to_text(a.positional[0]);
  CallArguments rest{{a.positional.begin() + 1, a.positional.end()}, a.named};
  return lazily(v, a, [name, rest](const Value& element, Value& out) {
    const Filter filter = find_filter(name);
    if (!filter) fail(fmt::format("No filter named {}.", repr_of(name)));
    CallArguments arguments = rest;
    out = filter(element, arguments);
    return true;
  });
}

// select, reject, selectattr, rejectattr: elements for which a test (or the truth) of the element or of an attribute holds.
Value selected(const Value& v, CallArguments& a, bool by_attribute, bool wanted) {
  if (by_attribute && a.positional.empty()) fail("Missing parameter for attribute name");
  const Value path = by_attribute ? a.positional[0] : Value::none();
  const size_t first = by_attribute ? 1 : 0;
  const bool tests = a.positional.size() > first;
  const std::string name = tests ? to_text(a.positional[first]) : "";
  CallArguments rest;
  if (tests)
    rest = {{a.positional.begin() + static_cast<std::ptrdiff_t>(first) + 1, a.positional.end()}, a.named};
  if (!v.truth()) return lazily(Value::list({}), a, pass_on);
  return lazily(v, a, [=](const Value& element, Value& out) {
    const Value subject = by_attribute ? item_at_path(element, path) : element;
    const Test test = tests ? find_test(name) : nullptr;
    if (tests && !test) fail(fmt::format("No test named {}.", repr_of(name)));
    CallArguments arguments = rest;
    out = element;
    return (test ? test(subject, arguments) : subject.truth()) == wanted;
  });
}
Value select_filter(const Value& v, CallArguments& a) { return selected(v, a, false, true); }
Value reject_filter(const Value& v, CallArguments& a) { return selected(v, a, false, false); }
Value selectattr_filter(const Value& v, CallArguments& a) { return selected(v, a, true, true); }
Value rejectattr_filter(const Value& v, CallArguments& a) { return selected(v, a, true, false); }

Value unique_filter(const Value& v, CallArguments& a) {
  const Bound b("unique", a, {"case_sensitive", "attribute"});
  const bool case_sensitive = b.truth(0);
  const Value path = b.value_or(1, Value::none());
  auto seen = std::make_shared<Dict>();
  return lazily(v, a, [=](const Value& element, Value& out) {
    const Value key = ignoring_case(item_at_path(element, path), case_sensitive);
    if (seen->find(key)) return false;
    seen->set(key, Value::none());
    out = element;
    return true;
  });
}

Value items_filter(const Value& v, CallArguments& a) {
  Bound("items", a, {});
  if (v.is(Kind::undefined)) return lazily(Value::list({}), a, pass_on);
  if (!v.is(Kind::dict)) fail("Can only get item pairs from a mapping.");
  return lazily(v, a, [v](const Value& key, Value& out) {
    out = Value::tuple({key, *v.as_dict().find(key)});
    return true;
  });
}

Value join_filter(const Value& v, CallArguments& a) {
  const Bound b("join", a, {"d", "attribute"});
  const std::string between = b.has(0) ? to_text(b[0]) : "";
  const Value path = b.value_or(1, Value::none());
  std::string out;
  bool first = true;
  Cursor cursor(v);
  for (Value element; cursor.next(element);) {
    if (!std::exchange(first, false)) append(out, between);
    append(out, to_text(item_at_path(element, path)));
  }
  return text_of(std::move(out));
}

Value list_filter(const Value& v, CallArguments& a) {
  Bound("list", a, {});
  return Value::list(elements(v));
}

Value first_filter(const Value& v, CallArguments& a) {
  Bound("first", a, {});
  Cursor cursor(v);
  Value element;
  return cursor.next(element) ? element : Value::undefined("No first item, sequence was empty.");
}

Value last_filter(const Value& v, CallArguments& a) {
  Bound("last", a, {});
  if (v.is(Kind::object) || !is_iterable(v))
    fail(fmt::format("'{}' object is not reversible", v.type_name()));
  if (v.is(Kind::text)) {
    if (v.utf8().empty()) return Value::undefined("No last item, sequence was empty.");
    return item(v, Value(-1));
  }
  const std::vector<Value> all = elements(v);
  return all.empty() ? Value::undefined("No last item, sequence was empty.") : all.back();
}

Value reverse_filter(const Value& v, CallArguments& a) {
  Bound("reverse", a, {});
  if (v.is(Kind::text)) {
    std::vector<std::string_view> all = characters(v.utf8());
    std::string out;
    for (size_t i = all.size(); i-- > 0;) out += all[i];
    return text_of(std::move(out));
  }
  if (!is_iterable(v)) fail("argument must be iterable");
  std::vector<Value> all = elements(v);
  std::reverse(all.begin(), all.end());
  if (v.is(Kind::object)) return Value::list(std::move(all));
  return lazily(Value::list(std::move(all)), a, pass_on);
}

// Sorts stably by keys; with `reverse` equal elements keep their order too, as in Python.
std::vector<Value> sorted(std::vector<Value> values, const std::function<Value(const Value&)>& key,
                          bool reverse) {
  std::vector<std::pair<Value, size_t>> keys;
  for (size_t i = 0; i < values.size(); ++i) keys.emplace_back(key(values[i]), i);
  // NOTE: an ordering that throws or is inconsistent (NaN) must not reach std::sort, merging copes with both.
  std::vector<std::pair<Value, size_t>> merged(keys.size());
  for (size_t width = 1; width < keys.size(); width *= 2) {
    for (size_t low = 0; low < keys.size(); low += 2 * width) {
      const size_t middle = std::min(low + width, keys.size()), high = std::min(low + 2 * width, keys.size());
      for (size_t a = low, b = middle, out = low; out < high; ++out) {
        const bool take_b =
            a == middle ||
            (b < high && (reverse ? less(keys[a].first, keys[b].first) : less(keys[b].first, keys[a].first)));
        merged[out] = keys[take_b ? b++ : a++];
      }
    }
    std::swap(keys, merged);
  }
  std::vector<Value> result;
  for (const auto& [k, i] : keys) result.push_back(values[i]);
  return result;
}

Value sort_filter(const Value& v, CallArguments& a) {
  const Bound b("sort", a, {"reverse", "case_sensitive", "attribute"});
  std::vector<Value> paths = {b.value_or(2, Value::none())};
  if (paths[0].is(Kind::text)) {
    const Value all = paths[0];
    paths.clear();
    for (const std::string_view path : split_at(all.utf8(), ",", -1, false))
      paths.push_back(text_of(std::string(path)));
  }
  const auto key = [&](const Value& element) {
    std::vector<Value> parts;
    for (const Value& path : paths) parts.push_back(ignoring_case(item_at_path(element, path), b.truth(1)));
    return Value::list(std::move(parts));
  };
  return Value::list(sorted(elements(v), key, b.truth(0)));
}

Value dictsort_filter(const Value& v, CallArguments& a) {
  const Bound b("dictsort", a, {"case_sensitive", "by", "reverse"});
  const std::string by = b.has(1) ? b.text(1) : "key";
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  if (!v.is(Kind::dict)) {
    if (v.is(Kind::undefined)) fail_undefined(v);
    fail(fmt::format("'{}' object has no attribute 'items'", v.type_name()));
  }
  std::vector<Value> pairs;
  for (const auto& [key, value] : v.as_dict().items()) pairs.push_back(Value::tuple({key, value}));
  const auto key = [&](const Value& pair) {
    return ignoring_case(pair.items()[by == "key" ? 0 : 1], b.truth(0));
  };
  return Value::list(sorted(std::move(pairs), key, b.truth(2)));
}

Value extreme(const Value& v, CallArguments& a, bool largest) {
  const Bound b(largest ? "max" : "min", a, {"case_sensitive", "attribute"});
  const auto key = [&](const Value& element) {
    return ignoring_case(item_at_path(element, b.value_or(1, Value::none())), b.truth(0));
  };
  Cursor cursor(v);
  Value best;
  if (!cursor.next(best)) return Value::undefined("No aggregated item, sequence was empty.");
  for (Value element; cursor.next(element);)
    if (largest ? less(key(best), key(element)) : less(key(element), key(best))) best = element;
  return best;
}
Value min_filter(const Value& v, CallArguments& a) { return extreme(v, a, false); }
Value max_filter(const Value& v, CallArguments& a) { return extreme(v, a, true); }

Value sum_filter(const Value& v, CallArguments& a) {
  const Bound b("sum", a, {"attribute", "start"});
  Value total = b.value_or(1, Value(0));
  if (total.is(Kind::text)) fail("sum() can't sum strings [use ''.join(seq) instead]");
  Cursor cursor(v);
  for (Value element; cursor.next(element);)
    total = arithmetic("+", total, item_at_path(element, b.value_or(0, Value::none())));
  return total;
}

Value batch_filter(const Value& v, CallArguments& a) {
  const Bound b("batch", a, {"linecount", "fill_with"}, 1);
  const int64_t width = b.whole(0);
  const Value fill = b.value_or(1, Value::none());
  auto cursor = std::make_shared<Cursor>(v);
  return make_iterator(
      [=](Value& out) {
        std::vector<Value> row;
        for (Value element;
             static_cast<int64_t>(row.size()) < std::max<int64_t>(width, 1) && cursor->next(element);)
          row.push_back(element);
        if (row.empty()) return false;
        const int64_t missing = width - static_cast<int64_t>(row.size());
        if (missing > 0 && !fill.is(Kind::none)) {
          Budget::bytes(missing > INT32_MAX ? INT64_MAX : missing * static_cast<int64_t>(sizeof(Value)));
          row.insert(row.end(), static_cast<size_t>(missing), fill);
        }
        out = Value::list(std::move(row));
        return true;
      },
      deepest(v, a) + 1);
}

Value slice_filter(const Value& v, CallArguments& a) {
  const Bound b("slice", a, {"slices", "fill_with"}, 1);
  const std::vector<Value> all = elements(v);
  const int64_t slices = b.whole(0), n = static_cast<int64_t>(all.size());
  if (slices == 0) fail("integer division or modulo by zero");
  std::vector<Value> columns;
  int64_t start = 0;
  for (int64_t i = 0; i < slices; ++i) {
    const bool longer = i < n % slices;
    const int64_t end = start + n / slices + (longer ? 1 : 0);
    std::vector<Value> column(all.begin() + start, all.begin() + end);
    if (!b.none_or_absent(1) && !longer) column.push_back(b[1]);
    columns.push_back(Value::list(std::move(column)));
    start = end;
  }
  return lazily(Value::list(std::move(columns)), a, pass_on);
}

Value groupby_filter(const Value& v, CallArguments& a) {
  const Bound b("groupby", a, {"attribute", "default", "case_sensitive"}, 1);
  const auto grouper = [&](const Value& element) {
    return item_at_path(element, b[0], b.value_or(1, Value::none()));
  };
  const auto key = [&](const Value& element) { return ignoring_case(grouper(element), b.truth(2)); };
  std::vector<Value> groups, members;
  const auto close = [&] {
    if (!members.empty())
      groups.push_back(
          Value::sequence(Kind::tuple, {grouper(members[0]), Value::list(members)}, kGroupLabel));
    members.clear();
  };
  for (const Value& element : sorted(elements(v), key, false)) {
    if (!members.empty() && !equal(key(members[0]), key(element))) close();
    members.push_back(element);
  }
  close();
  return Value::list(std::move(groups));
}

}  // namespace

Filter find_sequence_filter(std::string_view name) {
  static const std::map<std::string_view, Filter> filters = {{"batch", batch_filter},
                                                             {"dictsort", dictsort_filter},
                                                             {"first", first_filter},
                                                             {"groupby", groupby_filter},
                                                             {"items", items_filter},
                                                             {"join", join_filter},
                                                             {"last", last_filter},
                                                             {"list", list_filter},
                                                             {"map", map_filter},
                                                             {"max", max_filter},
                                                             {"min", min_filter},
                                                             {"reject", reject_filter},
                                                             {"rejectattr", rejectattr_filter},
                                                             {"reverse", reverse_filter},
                                                             {"select", select_filter},
                                                             {"selectattr", selectattr_filter},
                                                             {"slice", slice_filter},
                                                             {"sort", sort_filter},
                                                             {"sum", sum_filter},
                                                             {"unique", unique_filter}};
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace octavo::chat
