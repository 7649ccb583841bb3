// Lines that a person types: with editing and history (libedit) when stdin and stdout are terminals and the program was
// built with it, else plain lines of stdin.
#pragma once
#include <string>

namespace octavo::app {

class LineEditor {
 public:
  LineEditor();
  bool interactive() const { return interactive_; }  // prompts are shown

  // The next line without its end. False at the end of input; an interrupt while a line is typed drops the line.
  bool read(const std::string& prompt, std::string& line);

 private:
  bool interactive_;
};

}  // namespace octavo::app
