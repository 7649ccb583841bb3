// GoogleTest glue: an argument error is judged by its kind and the words of its message.
#pragma once
#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace octavo::harness {

template <class Call>
void expect_error(ErrorKind kind, const std::string& part_of_message, Call&& call) {
  try {
    call();
    ADD_FAILURE() << "no error; expected: " << part_of_message;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(part_of_message), std::string::npos)
        << "message: " << error.what() << "\nexpected: " << part_of_message;
    EXPECT_EQ(error.kind(), kind) << error.what();
  }
}

}  // namespace octavo::harness
