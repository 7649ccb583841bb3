#include "line_editor.h"

#include <unistd.h>

#include <clocale>
#include <cstdlib>
#include <iostream>

#include "terminal.h"

#ifdef OCTAVO_HAVE_LIBEDIT
#include <editline/readline.h>
#endif

namespace octavo::app {

LineEditor::LineEditor() : interactive_(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
  if (interactive_) std::setlocale(LC_CTYPE, "");  // libedit edits characters, not bytes
}

#ifdef OCTAVO_HAVE_LIBEDIT
namespace {

// False when there is no line: at the end of input, or, `dropped`, after an interrupt.
bool edit_line(const std::string& prompt, std::string& line, bool& dropped) {
  const bool interrupted_before = interrupted();
  char* typed = readline(prompt.c_str());
  dropped = !typed && interrupted() && !interrupted_before;
  if (!typed) return false;
  line = typed;
  if (!line.empty()) add_history(typed);
  std::free(typed);
  return true;
}

}  // namespace
#endif

bool LineEditor::read(const std::string& prompt, std::string& line) {
#ifdef OCTAVO_HAVE_LIBEDIT
  for (bool dropped = false; interactive_;) {
    if (edit_line(prompt, line, dropped)) return true;
    write_stdout("\n");
    if (!dropped) return false;
  }
#endif
  if (interactive_) write_stdout(prompt);
  return static_cast<bool>(std::getline(std::cin, line));
}

}  // namespace octavo::app
