// The terminal: progress on stderr, interrupts, peak memory, numbers for people.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace octavo::app {

void watch_interrupts();  // the first Ctrl-C asks the work to stop, the second ends the process
bool interrupted();
void clear_interrupt();  // the next Ctrl-C is a first one again

// A progress bar on stderr, only when that is a terminal and once a second has passed.
void show_progress(std::string_view what, int64_t done, int64_t total);
void clear_progress();

bool write_stdout(std::string_view text);  // and flush; false when the reader is gone
bool flush_stdout();

int64_t peak_memory_bytes();                   // of this process so far
std::string human_bytes(int64_t bytes);        // "7.4 MB", decimal units
int64_t parse_bytes(const std::string& text);  // "6GiB", "500MB", "1073741824"; throws usage

}  // namespace octavo::app
