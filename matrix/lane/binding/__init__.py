"""The releases' own compiled extensions, built without their kernels and compared.

A release's extension is compiled from its own source, without the code that it binds: what it
exports, how its enumerations behave and are pickled, how its functions are called is the
release's own; calling what needs a kernel ends the process. It needs a CUDA build of PyTorch and
a C++ compiler, but neither nvcc nor a GPU.

sources: the source of an extension, from the package index or from git
toolchain: the PyTorch and the headers to compile with
build: compiling and linking, and the cache of what was built
folder: a folder of compiled extensions, for running the cpu lane on them
observe: a program that tells what an extension, or the stand-in for it, exports and does
observation: what that program tells, and how it is asked
asked: the names that a release's Python code asks its extension for
record: writes what was observed as the table that the stand-in is assembled from
compare: the differences between the compiled extensions and the stand-in
differences.toml: the differences that are explained
run: the steps above, for several releases
"""
