# The front door: everyday commands. The work is done by CMake (CMakePresets.json) and scripts/.
# JOBS=N limits parallel compilation.
SHELL = /bin/sh
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local

.DEFAULT_GOAL = help
.PHONY: help demo test release debug asan tsan check format fuzz bench-store bench-index bench-quality bench-embed install deps \
        clean

help: ## this list
	@echo "u2i: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | \
	    while IFS='|' read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done

demo: ## see it work: build, load 100,000 real ratings, recommend to three real users
	@scripts/deps.sh build
	@$(MAKE) --no-print-directory release
	@examples/demo.sh build/release

test: ## everything that has to hold: tests under ASan, UBSan and TSan, and all checks
	@JOBS=$(JOBS) scripts/test.sh

release: ## build/release: the optimised library and program
	@cmake --preset release >build/release.log 2>&1 || { cat build/release.log; exit 1; }
	@cmake --build --preset release -j $(JOBS)

debug: ## build/debug: for the debugger, with tests
	@cmake --preset debug && cmake --build --preset debug -j $(JOBS)

asan: ## build/asan: AddressSanitizer and UBSan; then run the tests
	@cmake --preset asan && cmake --build --preset asan -j $(JOBS) && \
	    scripts/no-aslr.sh ctest --preset asan -j $(JOBS)

tsan: ## build/tsan: ThreadSanitizer; then run the tests that start threads
	@cmake --preset tsan && cmake --build --preset tsan -j $(JOBS) --target thread_tests && \
	    scripts/no-aslr.sh ctest --preset tsan -j $(JOBS)

check: release ## the checks of the sources (tools/check.sh)
	@tools/check.sh

format: ## clang-format all sources in place
	@clang-format-14 -i $$(find include src programs tests bench examples fuzz -name '*.[ch]')

fuzz: ## each libFuzzer target for SECONDS_EACH (60) seconds
	@JOBS=$(JOBS) scripts/fuzz.sh

bench-store: ## durable writes, import, opening, exact search, memory; QUICK=1 for small sizes
	@scripts/deps.sh build
	@$(MAKE) --no-print-directory release
	@cmake --build --preset release -j $(JOBS) --target bench_store
	@build/release/bench_store $(if $(QUICK),--quick)

bench-index: ## the graph beside hnswlib, faiss, usearch, glass; QUICK=1 for small sets
	@scripts/deps.sh bench
	@$(MAKE) --no-print-directory release
	@cmake --build --preset release -j $(JOBS) --target bench_index
	@scripts/bench-index.sh $(if $(QUICK),--quick)

bench-quality: ## recommendations beside popularity, item-kNN, EASE, implicit; QUICK=1 for one fold
	@scripts/deps.sh bench
	@$(MAKE) --no-print-directory release
	@cmake --build --preset release -j $(JOBS) --target bench_recommend $$(ls bench/bench_train.c >/dev/null 2>&1 && echo bench_train)
	@scripts/bench-quality.sh $(if $(QUICK),--quick)

bench-embed: ## text to vector beside sentence-transformers, onnxruntime; QUICK=1 for few texts, LLAMA=1 for llama.cpp too
	@scripts/deps.sh bench
	@$(MAKE) --no-print-directory release
	@cmake --build --preset release -j $(JOBS) --target bench_embed bench_gemm bench_tokenizer
	@LLAMA=$(LLAMA) scripts/bench-embed.sh $(if $(QUICK),--quick)

install: release ## into PREFIX (/usr/local), under DESTDIR if set
	@cmake --install build/release --prefix $(PREFIX)

deps: ## install what building and testing needs (apt, Debian 12)
	@scripts/deps.sh test

clean: ## remove build/
	@rm -rf build

release debug asan tsan: | build
build:
	@mkdir -p build
