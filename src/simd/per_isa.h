// Declares a kernel once for every instruction set it is compiled for:  OCTAVO_PER_ISA(void norm_row(const NormRow& r))
// gives octavo::avx2::norm_row and octavo::avx512::norm_row. Arguments are plain structs and pointers only.
#pragma once

#define OCTAVO_PER_ISA(declaration) \
  namespace octavo::avx2 {          \
  declaration;                      \
  }                                 \
  namespace octavo::avx512 {        \
  declaration;                      \
  }
