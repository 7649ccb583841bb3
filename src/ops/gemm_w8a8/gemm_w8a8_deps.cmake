target_link_libraries(octavo_op_gemm_w8a8 PUBLIC octavo_op_bias_gelu octavo_op_silu_mul)
# The tile of gemm_w8a8_simd.cpp in the order in which it is written: 3 % faster than in that of g++'s scheduler (Zen 3).
if(TARGET octavo_gemm_w8a8_simd_for_avx2 AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(octavo_gemm_w8a8_simd_for_avx2 PRIVATE -fno-schedule-insns2)
endif()
