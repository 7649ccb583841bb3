// Names and values from untrusted files, made safe to print: quoted, shortened, without control characters.
#pragma once
#include <string>
#include <string_view>

namespace octavo {

// "\"model.norm\""; bytes outside printable ASCII become \xNN, the middle of a long text becomes "...".
std::string in_quotes(std::string_view text, size_t max_length = 120);

}  // namespace octavo
