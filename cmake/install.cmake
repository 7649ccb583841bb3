# `cmake --install`: headers under include/octavo, static libraries, the program, the demo model, and a CMake package:
#   find_package(octavo)  gives  octavo::octavo (everything), octavo::ops, octavo::engine, octavo::rms_norm, ...
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Headers keep their paths (core/..., ops/<op>/<op>.h) under include/octavo. Of an op and of the tokenizer one header is
# public; what serves tests stays home.
set(octavo_headers ${CMAKE_INSTALL_INCLUDEDIR}/octavo)
install(DIRECTORY include/octavo/ DESTINATION ${octavo_headers} FILES_MATCHING PATTERN "*.h")
get_property(ops GLOBAL PROPERTY octavo_ops)
list(TRANSFORM ops REPLACE "(.+)" "src/ops/\\1/\\1.h" OUTPUT_VARIABLE public_headers)
file(GLOB layer_headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} src/core/*.h src/formats/*.h src/weights/*.h src/model/*.h
     src/engine/*.h src/server/*.h)
foreach(header IN LISTS public_headers layer_headers ITEMS src/tokenizer/tokenizer.h)
  file(STRINGS ${header} for_tests REGEX "#include \"harness/")
  if(NOT for_tests)
    cmake_path(GET header PARENT_PATH folder)
    string(REGEX REPLACE "^src/" "" folder ${folder})
    install(FILES ${header} DESTINATION ${octavo_headers}/${folder})
  endif()
endforeach()

# NOTE: warnings, sanitizers and IEEE flags are for octavo's own files, not for those of whoever links it.
get_target_property(own_options octavo_flags INTERFACE_COMPILE_OPTIONS)
set_target_properties(octavo_flags PROPERTIES INTERFACE_COMPILE_OPTIONS "$<BUILD_INTERFACE:${own_options}>")
target_compile_features(octavo_flags INTERFACE cxx_std_20)
target_include_directories(octavo_flags INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
                                                  $<INSTALL_INTERFACE:${octavo_headers}>)

add_library(octavo_everything INTERFACE)
target_link_libraries(octavo_everything INTERFACE octavo_engine octavo_ops)
set_target_properties(octavo_everything PROPERTIES EXPORT_NAME octavo)
set(installed octavo_flags octavo_everything octavo_ops)
foreach(layer IN ITEMS core formats cuda tokenizer weights model engine)
  if(TARGET octavo_${layer})
    list(APPEND installed octavo_${layer})
    set_target_properties(octavo_${layer} PROPERTIES EXPORT_NAME ${layer})
  endif()
endforeach()
foreach(op IN LISTS ops)
  list(APPEND installed octavo_op_${op})
  set_target_properties(octavo_op_${op} PROPERTIES EXPORT_NAME ${op})
endforeach()
set_target_properties(octavo_flags PROPERTIES EXPORT_NAME flags)
set_target_properties(octavo_ops PROPERTIES EXPORT_NAME ops)
install(TARGETS ${installed} EXPORT octavo ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/octavo)
install(EXPORT octavo NAMESPACE octavo:: FILE octavo-targets.cmake DESTINATION ${package})
configure_package_config_file(cmake/octavo-config.cmake.in ${PROJECT_BINARY_DIR}/octavo-config.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/octavo-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/octavo-config.cmake ${PROJECT_BINARY_DIR}/octavo-config-version.cmake DESTINATION ${package})

if(TARGET octavo_program)
  install(TARGETS octavo_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(EXISTS ${PROJECT_SOURCE_DIR}/models/demo/config.json)
  install(DIRECTORY models/demo DESTINATION ${CMAKE_INSTALL_DATADIR}/octavo/models)
endif()
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# An outside project installs octavo into the build folder, finds it, and calls an op.
if(OCTAVO_TESTS AND NOT OCTAVO_SANITIZE)
  add_test(NAME install_consumer COMMAND ${CMAKE_COMMAND} -DOCTAVO_BUILD=${PROJECT_BINARY_DIR} -DGENERATOR=${CMAKE_GENERATOR}
           -DCOMPILER=${CMAKE_CXX_COMPILER} -DLAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER} -P ${PROJECT_SOURCE_DIR}/tests/consumer/run.cmake)
  set_tests_properties(install_consumer PROPERTIES TIMEOUT 300)
endif()
